import { readFile } from "node:fs/promises";
import { findPackageJSON } from "node:module";
import { Command } from "commander";
import { environmentSwitch, environmentVariable } from "./environment.ts";
import { addEnroll } from "./enroll.ts";
import { addInfo } from "./info.ts";
import { addGallery } from "./gallery.ts";
import { addKeyCommands } from "./key.ts";
import { addKeygen } from "./keygen.ts";
import { addCompare, addIdentify, addVerify } from "./match.ts";
import type { Cli } from "./outcome.ts";
import { addDelete, addList } from "./roster.ts";
import { addTenseal } from "./tenseal.ts";

const COMMANDS: readonly ((program: Command, cli: Cli) => void)[] = [
  addKeygen,
  addInfo,
  addKeyCommands,
  addGallery,
  addEnroll,
  addVerify,
  addIdentify,
  addList,
  addDelete,
  addCompare,
  addTenseal,
];

const EXAMPLES = `
A first run, beside a running server:
  veilface keygen
  veilface gallery create staff
  veilface enroll staff ada ada-1.jpg ada-2.jpg
  veilface verify staff ada door.jpg
  veilface identify staff door.jpg

Exit codes: 0 yes, 1 no (not accepted, nobody found, not all enrolled), 2 error.
Environment: VEILFACE_SERVER, VEILFACE_TLS (true or false), VEILFACE_TLS_CA, VEILFACE_KEY, VEILFACE_PASSPHRASE,
VEILFACE_NEW_PASSPHRASE, VEILFACE_CACHE (folder for models and rosters). An empty one is as one that is not set.`;

/** All commands. `write` takes what --help and --version print; errors are thrown, by commander too. */
export async function buildProgram(cli: Cli, write: (text: string) => void): Promise<Command> {
  const program = new Command("veilface")
    .description("Face recognition on encrypted embeddings: encrypted here, matched by a server that sees no face.")
    .version(await ownVersion())
    .helpCommand(false)
    .addHelpText("after", EXAMPLES);
  for (const add of COMMANDS) add(program, cli);
  forEachCommand(program, (command) => {
    // Errors are thrown and printed in one place, as one line or as JSON.
    command.exitOverride().configureOutput({ writeOut: write, writeErr: () => undefined });
    command.hook("preSubcommand", (_command, chosen) => {
      readEnvironment(chosen);
    });
  });
  return program;
}

async function ownVersion(): Promise<string> {
  const path = findPackageJSON(import.meta.url);
  const fields: unknown = path === undefined ? undefined : JSON.parse(await readFile(path, "utf8"));
  const known = typeof fields === "object" && fields !== null && "version" in fields;
  return known && typeof fields.version === "string" ? fields.version : "unknown";
}

/** Makes commander, which asks only whether a variable is set, read those of a command as they are meant. */
export function readEnvironment({ options }: Command): void {
  for (const option of options) {
    const { envVar } = option;
    if (envVar === undefined) continue;
    const set = option.isBoolean() ? environmentSwitch(envVar) === true : environmentVariable(envVar) !== undefined;
    if (!set) Reflect.deleteProperty(process.env, envVar);
  }
}

function forEachCommand(command: Command, visit: (command: Command) => void): void {
  visit(command);
  for (const child of command.commands) forEachCommand(child, visit);
}
