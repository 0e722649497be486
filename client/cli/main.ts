import { FheError } from "@veilface/fhe";
import { Command, CommanderError } from "commander";
import { ClientError } from "../errors.ts";
import { addEnroll } from "./enroll.ts";
import { addGallery } from "./gallery.ts";
import { addKeyCommands } from "./key.ts";
import { addKeygen } from "./keygen.ts";
import { addCompare, addIdentify, addVerify } from "./match.ts";
import type { Cli, Outcome } from "./outcome.ts";
import { addDelete, addList } from "./roster.ts";
import { addTenseal } from "./tenseal.ts";

const EXIT_NO = 1;
const EXIT_ERROR = 2;
// 128 + SIGINT, as shells say it.
const EXIT_INTERRUPTED = 130;

const EXAMPLES = `
A first run, beside a running server:
  veilface keygen
  veilface gallery create staff
  veilface enroll staff ada ada-1.jpg ada-2.jpg
  veilface verify staff ada door.jpg
  veilface identify staff door.jpg

Exit codes: 0 yes, 1 no (not accepted, nobody found), 2 error.
Environment: VEILFACE_SERVER, VEILFACE_KEY, VEILFACE_PASSPHRASE, VEILFACE_CACHE (folder for models and rosters).`;

function buildProgram(cli: Cli): Command {
  const program = new Command("veilface")
    .description("Face recognition on encrypted embeddings: faces are encrypted here, and matched by a server that sees none.")
    .helpCommand(false)
    .addHelpText("after", EXAMPLES);
  for (const add of [addKeygen, addKeyCommands, addGallery, addEnroll, addVerify, addIdentify, addList, addDelete, addCompare, addTenseal]) add(program, cli);
  forEachCommand(program, (command) => {
    // Errors are thrown and printed in one place, as one line or as JSON.
    command.exitOverride().configureOutput({ writeErr: () => undefined });
  });
  return program;
}

function forEachCommand(command: Command, visit: (command: Command) => void): void {
  visit(command);
  for (const child of command.commands) forEachCommand(child, visit);
}

async function run(argv: readonly string[], signal: AbortSignal): Promise<Outcome | undefined> {
  let outcome: Outcome | undefined;
  const finish = (finished: Outcome): void => {
    outcome = finished;
  };
  await buildProgram({ signal, finish }).parseAsync(argv, { from: "user" });
  return outcome;
}

function printOutcome({ json, text }: Outcome, asJson: boolean): void {
  process.stdout.write(asJson ? `${JSON.stringify(json)}\n` : text.map((line) => `${line}\n`).join(""));
}

function printError(error: unknown, asJson: boolean): void {
  const { reason, message, serverReason } = describeError(error);
  if (asJson) process.stdout.write(`${JSON.stringify({ error: { reason, message, serverReason } })}\n`);
  else process.stderr.write(`veilface: ${message}\n`);
}

function describeError(error: unknown): { reason: string; message: string; serverReason?: string } {
  if (error instanceof CommanderError) return { reason: "USAGE", message: usageMessage(error) };
  if (error instanceof ClientError) {
    const { reason, message, serverReason } = error;
    return { reason, message: oneLine(message), ...(serverReason !== undefined && { serverReason }) };
  }
  if (error instanceof FheError) return { reason: error.reason, message: oneLine(error.message) };
  return { reason: "INTERNAL", message: `a fault of veilface, please report it: ${oneLine(String(error))}` };
}

function usageMessage({ code, message }: CommanderError): string {
  if (code === "commander.help") return "a command is missing: see veilface --help";
  return `${oneLine(message.replace(/^error: /, ""))} (see --help)`;
}

function oneLine(text: string): string {
  return text.trim().replaceAll(/\s*\n\s*/g, " ");
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError && error.exitCode === 0) return 0;
  return error instanceof ClientError && error.reason === "CANCELLED" ? EXIT_INTERRUPTED : EXIT_ERROR;
}

/** Ctrl-C cancels what is under way; a second one does not wait for it. */
function interruptSignal(): AbortSignal {
  const interrupted = new AbortController();
  process.on("SIGINT", () => {
    if (interrupted.signal.aborted) process.exit(EXIT_INTERRUPTED);
    interrupted.abort();
  });
  return interrupted.signal;
}

const argv = process.argv.slice(2);
const asJson = argv.includes("--json");
try {
  const outcome = await run(argv, interruptSignal());
  if (outcome !== undefined) printOutcome(outcome, asJson);
  if (outcome?.yes === false) process.exitCode = EXIT_NO;
} catch (error) {
  process.exitCode = exitCodeOf(error);
  if (process.exitCode !== 0) printError(error, asJson);
}
