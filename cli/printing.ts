import { writeFileSync, fstatSync } from "node:fs";
import { FheError } from "@veilface/client";
import { CommanderError } from "commander";
import { definedOnly, errorCode, systemErrorText } from "@veilface/client/advanced";
import { CliError, isKnown, serverReasonOf } from "./errors.ts";
import type { Outcome } from "./outcome.ts";

const STANDARD_OUTPUT = 1;

/** Prints what a command came to. Throws as {@link print} does. */
export async function printOutcome({ json, text }: Outcome, asJson: boolean): Promise<void> {
  await print(asJson ? `${JSON.stringify(json)}\n` : text.map((line) => `${line}\n`).join(""));
}

/**
 * Prints an error: one line on standard error, or one JSON document on standard output, which throws as {@link print}
 * does.
 */
export async function printError(error: unknown, asJson: boolean): Promise<void> {
  const { reason, message, serverReason } = describeError(error);
  if (asJson) await print(`${JSON.stringify({ error: { reason, message, serverReason } })}\n`);
  else printErrorLine(message);
}

/** A line on standard error, which may be closed: there is nobody to tell then. */
export function printErrorLine(message: string): void {
  process.stderr.write(`veilface: ${message}\n`);
}

/**
 * Writes to standard output. A reader that has gone away, as head does, has read all it wants: that is no error.
 * Throws CliError USAGE where the text cannot be written whole, such as to a full disk.
 */
export async function print(text: string): Promise<void> {
  try {
    // Node's stream writes to a file once, and passes over that a disk took only a part of it.
    if (fstatSync(STANDARD_OUTPUT).isFile()) writeFileSync(STANDARD_OUTPUT, text);
    else await writeToStream(text);
  } catch (cause) {
    if (errorCode(cause) === "EPIPE") return;
    throw new CliError("USAGE", `standard output cannot be written: ${systemErrorText(cause)}`, { cause });
  }
}

/**
 * Keeps streams whose reader has gone away from ending the program with a stack: who writes asks for errors, or needs
 * none.
 */
export function ignoreStreamErrors(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
}

function writeToStream(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

function describeError(error: unknown): { reason: string; message: string; serverReason?: string } {
  if (error instanceof CommanderError) return { reason: "USAGE", message: usageMessage(error) };
  if (isKnown(error)) {
    const { reason, message } = error;
    const serverReason = serverReasonOf(error);
    return definedOnly({ reason, message: oneLine(message), serverReason });
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
