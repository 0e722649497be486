import { pino } from "pino";
import { readConfig } from "./config.ts";
import { startServer } from "./server.ts";
import type { RunningServer } from "./server.ts";

const config = readConfig(process.argv.slice(2));
const log = pino({ name: "veilface-server", level: config.logLevel }, pino.destination(2));
const stopping = new AbortController();

// A signal while the server starts ends it in order once it has started; any further one changes nothing.
function stopOnSignals(starting: Promise<RunningServer>): void {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (stopping.signal.aborted) return;
      stopping.abort();
      log.info({ signal }, "stopping");
      void starting.then(stop, () => undefined);
    });
  }
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
  const starting = startServer(config, log);
  // Only now: what of a start cannot be interrupted is behind it, and nothing has said yet that the server is there.
  stopOnSignals(starting);
  const { address } = await starting;
  const about = `listening on ${address}, data in ${config.dataFolder}, ${config.workers} workers`;
  if (!stopping.signal.aborted) process.stdout.write(`veilface matching server ${about}\n`);
} catch (error) {
  process.stderr.write(`veilface-server: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
