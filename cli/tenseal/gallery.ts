import { Option } from "commander";
import type { Command } from "commander";
import { PairwiseClient } from "@veilface/client";
import { definedOnly } from "@veilface/client/advanced";
import { addNamed, deletedText, namedIds } from "../deletion.ts";
import type { NamedFlags } from "../deletion.ts";
import { describe } from "../gallery-json.ts";
import { addJson, addServer, parseCount, parsePositive, serverOptions } from "../options.ts";
import type { ServerFlags } from "../options.ts";
import type { Cli, Outcome } from "../outcome.ts";

interface CreateFlags extends ServerFlags {
  dimension: number;
  metric: "cosine" | "euclidean";
  normBound?: number;
  modelId?: string;
}

type UnenrollFlags = ServerFlags & NamedFlags;

const CREATE_EXAMPLES = `
Examples:
  veilface tenseal gallery create staff CONTEXT-ID --dimension 128
  veilface tenseal gallery create staff CONTEXT-ID --dimension 512 --metric cosine --model-id arcface

With the metric euclidean results are squared distances; with cosine they are inner products, of vectors that you normalize before you
encrypt them.`;

export function addGallery(tenseal: Command, cli: Cli): void {
  const gallery = tenseal.command("gallery").description("Create and delete galleries of encrypted vectors.");
  addCreate(gallery, cli);
  const command = gallery
    .command("delete")
    .argument("<gallery>")
    .description("Delete a gallery with all its templates.")
    .addHelpText("after", "\nExample:\n  veilface tenseal gallery delete staff")
    .action(async (galleryId: string, flags: ServerFlags) => {
      cli.finish(await remove(galleryId, flags, cli.signal));
    });
  addJson(addServer(command));
}

function addCreate(gallery: Command, cli: Cli): void {
  const command = gallery
    .command("create")
    .argument("<gallery>", "its id: 1 to 64 of a-z, 0-9 and -")
    .argument("<context-id>", "all 64 digits that upload printed")
    .description("Create an empty gallery under a context.")
    .requiredOption("--dimension <n>", "components of its vectors", parseCount)
    .addOption(
      new Option("--metric <metric>", "how vectors are compared").choices(["euclidean", "cosine"]).default("euclidean"),
    )
    .option(
      "--norm-bound <r>",
      "largest Euclidean norm of its vectors (metric euclidean): with it the server is about twice as fast",
      parsePositive,
    )
    .option("--model-id <id>", "what made the vectors (default: tenseal)")
    .addHelpText("after", CREATE_EXAMPLES)
    .action(async (galleryId: string, contextId: string, flags: CreateFlags) => {
      cli.finish(await create({ galleryId, contextId }, flags, cli.signal));
    });
  addJson(addServer(command));
}

export function addUnenroll(tenseal: Command, cli: Cli): void {
  const command = addNamed(tenseal.command("unenroll").argument("<gallery>"))
    .description(
      "Delete people or single templates from a gallery; says which were not there. Exit code 1 if there was nothing to delete.",
    )
    .addHelpText("after", "\nExample:\n  veilface tenseal unenroll staff --subject ada")
    .action(async (galleryId: string, flags: UnenrollFlags) => {
      cli.finish(await unenroll(galleryId, flags, cli.signal));
    });
  addJson(addServer(command));
}

async function create(
  { galleryId, contextId }: { galleryId: string; contextId: string },
  flags: CreateFlags,
  signal: AbortSignal,
): Promise<Outcome> {
  const { dimension, metric, normBound, modelId } = flags;
  using client = new PairwiseClient(await serverOptions(flags));
  const wished = definedOnly({ galleryId, contextId, dimension, metric, normBound, modelId });
  const gallery = await client.createGallery(wished, { signal });
  return {
    json: { gallery: describe(gallery) },
    text: [`gallery ${galleryId} created: ${dimension} components, ${metric}`],
    yes: true,
  };
}

async function remove(galleryId: string, flags: ServerFlags, signal: AbortSignal): Promise<Outcome> {
  using client = new PairwiseClient(await serverOptions(flags));
  await client.deleteGallery(galleryId, { signal });
  return { json: { galleryId, deleted: true }, text: [`gallery ${galleryId} deleted`], yes: true };
}

async function unenroll(galleryId: string, flags: UnenrollFlags, signal: AbortSignal): Promise<Outcome> {
  const named = namedIds(flags, "tenseal gallery delete");
  using client = new PairwiseClient(await serverOptions(flags));
  const { deleted, notFound } = await client.deleteTemplates(galleryId, named, { signal });
  const text = deletedText(galleryId, { deleted, notFound });
  return { json: { galleryId, deleted, notFound }, text, yes: deleted > 0 };
}
