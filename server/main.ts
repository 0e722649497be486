import { pino } from "pino";
import { readConfig } from "./config.ts";
import { startServer } from "./server.ts";
import type { RunningServer } from "./server.ts";

const config = readConfig(process.argv.slice(2));
const log = pino({ name: "veilface-server", level: config.logLevel }, pino.destination(2));
let server: RunningServer | undefined;
const stopping = new AbortController();

// Handled before anything says that the server is there. A signal while it starts ends it once it has; any further one changes nothing.
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, () => {
    if (stopping.signal.aborted) return;
    stopping.abort();
    log.info({ signal }, "stopping");
    if (server !== undefined) void stop(server);
  });
}

async function stop(running: RunningServer): Promise<void> {
  try {
    await running.stop();
    log.info("stopped");
    process.exit(0);
  } catch (error) {
    log.error({ err: error }, "could not stop in order");
    process.exit(1);
  }
}

try {
  server = await startServer(config, log);
  if (stopping.signal.aborted) await stop(server);
  process.stdout.write(`veilface matching server listening on ${server.address}, data in ${config.dataFolder}, ${config.workers} workers\n`);
} catch (error) {
  process.stderr.write(`veilface-server: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
