export { readConfig } from "./config.ts";
export type { ServerConfig } from "./config.ts";
export { ServerError } from "./errors.ts";
export type { FieldViolation, ServerErrorReason } from "./errors.ts";
export { startServer } from "./server.ts";
export type { RunningServer } from "./server.ts";
