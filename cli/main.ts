import { CommanderError } from "commander";
import { isKnown } from "./errors.ts";
import { listenForSignals } from "./interruption.ts";
import type { Interruption } from "./interruption.ts";
import type { Outcome } from "./outcome.ts";
import { ignoreStreamErrors, print, printError, printErrorLine, printOutcome } from "./printing.ts";
import { buildProgram } from "./program.ts";

const EXIT_NO = 1;
const EXIT_ERROR = 2;

async function run(argv: readonly string[], signal: AbortSignal): Promise<Outcome | undefined> {
  let outcome: Outcome | undefined;
  const finish = (finished: Outcome): void => {
    outcome = finished;
  };
  let printed = "";
  const program = await buildProgram({ signal, finish }, (text) => (printed += text));
  try {
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError && error.exitCode === 0)) throw error;
    await print(printed);
  }
  return outcome;
}

async function main(argv: readonly string[], interruption: Interruption): Promise<void> {
  const asJson = argv.includes("--json");
  try {
    const outcome = await run(argv, interruption.signal);
    if (outcome !== undefined) await printOutcome(outcome, asJson);
    if (outcome?.yes === false) process.exitCode = EXIT_NO;
  } catch (error) {
    const cancelled = interruption.signal.aborted || (isKnown(error) && error.reason === "CANCELLED");
    process.exitCode = cancelled ? interruption.exitCode() : EXIT_ERROR;
    await printError(error, asJson);
  }
}

ignoreStreamErrors();
try {
  await main(process.argv.slice(2), listenForSignals());
} catch (error) {
  // Standard output took not even the error.
  process.exitCode = EXIT_ERROR;
  printErrorLine(error instanceof Error ? error.message : String(error));
}
