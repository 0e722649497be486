export { readConfig } from "./config.ts";
export type { ServerConfig } from "./config.ts";
export { ServerError } from "./errors.ts";
export type { FieldViolation, QuotaViolation, ServerErrorOptions, ServerErrorReason } from "./errors.ts";
export type { FheErrorReason } from "@veilface/fhe";
export { startServer } from "./server.ts";
export type { RunningServer } from "./server.ts";
