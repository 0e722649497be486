import type { Command } from "commander";
import { PairwiseClient } from "@veilface/client";
import { addJson, addServer, serverOptions } from "../options.ts";
import type { ServerFlags } from "../options.ts";
import type { Cli, Outcome } from "../outcome.ts";

interface DeleteFlags extends ServerFlags {
  force?: true;
}

export function addDelete(tenseal: Command, cli: Cli): void {
  const command = tenseal
    .command("delete")
    .argument("<context-id>", "all 64 digits that upload printed")
    .description("Delete a context and its keys from the server.")
    .option("--force", "delete galleries under it too, with all their templates")
    .addHelpText("after", "\nExample:\n  veilface tenseal delete CONTEXT-ID")
    .action(async (contextId: string, flags: DeleteFlags) => {
      cli.finish(await remove(contextId, flags, cli.signal));
    });
  addJson(addServer(command));
}

async function remove(contextId: string, flags: DeleteFlags, signal: AbortSignal): Promise<Outcome> {
  using client = new PairwiseClient(await serverOptions(flags));
  await client.deleteContext(contextId, { force: flags.force === true, signal });
  return { json: { contextId, deleted: true }, text: [`context ${contextId} deleted`], yes: true };
}
