import { PairwiseClient } from "@veilface/client";
import type { Command } from "commander";
import { addJson, addServer, serverOptions } from "./options.ts";
import type { ServerFlags } from "./options.ts";
import type { Cli, Outcome } from "./outcome.ts";

/** Adds `info`. */
export function addInfo(program: Command, cli: Cli): void {
  const command = program
    .command("info")
    .description("Say which server answers, and what it takes. Takes no key.")
    .addHelpText("after", "\nExample:\n  veilface info --server matching.example.com:443")
    .action(async (flags: ServerFlags) => {
      cli.finish(await info(flags, cli.signal));
    });
  addJson(addServer(command));
}

async function info(flags: ServerFlags, signal: AbortSignal): Promise<Outcome> {
  using client = new PairwiseClient(await serverOptions(flags));
  const server = await client.getServerInfo({ signal });
  const { version, schemes, parameterSets, limits } = server;
  const text = [
    `veilface matching server ${version} at ${flags.server}`,
    `schemes: ${schemes.join(", ")}`,
    `parameter sets: ${parameterSets.join(", ")}`,
    ...Object.entries(limits).map(([name, value]) => `${name}: ${value}`),
  ];
  return { json: { ...server }, text, yes: true };
}
