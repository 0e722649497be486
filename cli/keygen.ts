import { DEFAULT_PARAMETER_SET, PARAMETER_SET_NAMES } from "@veilface/client";
import type { ParameterSetName } from "@veilface/client";
import { Option } from "commander";
import type { Command } from "commander";
import { KeyHolder, saveKeyFile } from "@veilface/client";
import { addJson, addKey, keyFileOf } from "./options.ts";
import type { KeyFlags } from "./options.ts";
import type { Cli, Outcome } from "./outcome.ts";
import { askPassphrase } from "./passphrase.ts";

interface KeygenFlags extends KeyFlags {
  parameterSet: ParameterSetName;
  force?: true;
}

const EXAMPLES = `
PACKED_N4096_Q30 takes half the room of PACKED_N4096_Q60 and is faster, but distances err by about 1e-3 rather than
1e-7. At a threshold such as 0.6 that hardly matters. It does near 0, where a Euclidean distance errs by what its
square errs, divided by the distance: a photo compared with itself reads up to 0.067, with PACKED_N4096_Q60 up to 0.00045.

Examples:
  veilface keygen
  veilface keygen --key door.key --parameter-set PACKED_N4096_Q30`;

export function addKeygen(program: Command, cli: Cli): void {
  const command = program
    .command("keygen")
    .description(
      "Make a key and save it under a passphrase. Without it nobody, you included, can read what is enrolled under it.",
    )
    .addOption(
      new Option("--parameter-set <name>", "encryption parameters")
        .choices(PARAMETER_SET_NAMES)
        .default(DEFAULT_PARAMETER_SET),
    )
    .option("--force", "replace a key that is there; what was enrolled under it can never be read again")
    .addHelpText("after", EXAMPLES)
    .action(async (flags: KeygenFlags) => {
      cli.finish(await keygen(flags, cli.signal));
    });
  addJson(addKey(command));
}

async function keygen(flags: KeygenFlags, signal: AbortSignal): Promise<Outcome> {
  const { passphraseFile, parameterSet, force } = flags;
  const key = keyFileOf(flags);
  const passphrase = await askPassphrase(passphraseFile, signal, { confirm: true });
  using holder = await KeyHolder.create(parameterSet);
  await saveKeyFile(key, { keyHolder: holder, passphrase }, { force: force === true });
  return {
    json: { keyFile: key, parameterSet, contextId: holder.contextId },
    text: [
      `key saved to ${key} (${parameterSet}, context ${holder.contextId.slice(0, 12)}…): keep a copy of the file and its passphrase`,
    ],
    yes: true,
  };
}
