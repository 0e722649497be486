import { pino } from "pino";
import { readConfig } from "./config.ts";
import { startServer } from "./server.ts";

const config = readConfig(process.argv.slice(2));
const log = pino({ name: "veilface-server", level: config.logLevel }, pino.destination(2));

try {
  const server = await startServer(config, log);
  process.stdout.write(`veilface matching server listening on ${server.address}, data in ${config.dataFolder}, ${config.workers} workers\n`);
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, "stopping");
      void server.stop().then(() => {
        log.info("stopped");
      });
    });
  }
} catch (error) {
  process.stderr.write(`veilface-server: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
