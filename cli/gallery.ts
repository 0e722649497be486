import { Option } from "commander";
import type { Command } from "commander";
import { spaceOf } from "@veilface/client";
import type { EmbeddingCard, GalleryInfo, ModelSpace } from "@veilface/client";
import { definedOnly } from "@veilface/client/advanced";
import { addJson, addKey, addServer, openClient, parseCount, parsePositive } from "./options.ts";
import type { KeyFlags, ModelFlags, ServerFlags } from "./options.ts";
import { formatTable } from "./outcome.ts";
import type { Cli, Outcome } from "./outcome.ts";
import { describe } from "./gallery-json.ts";
import { addUpdate } from "./gallery-update.ts";
import { addPack } from "./pack.ts";
import { loadPack } from "./photos.ts";

type CommonFlags = KeyFlags & ServerFlags;

interface CreateFlags extends CommonFlags, ModelFlags {
  metric?: "cosine" | "euclidean";
  dimension?: number;
  normBound?: number;
  modelId?: string;
  modelVersion?: string;
  expect?: number;
  packedStride?: number;
}

export function addGallery(program: Command, cli: Cli): void {
  const gallery = program.command("gallery").description("Create, list, pack and delete galleries.");
  addCreate(gallery, cli);
  addPack(gallery, cli);
  addUpdate(gallery, cli);
  addCommon(gallery.command("list").description("List the galleries of the key."))
    .addHelpText("after", "\nExample:\n  veilface gallery list --json")
    .action(async (flags: CommonFlags) => {
      cli.finish(await list(flags, cli.signal));
    });
  addCommon(gallery.command("delete").argument("<gallery>").description("Delete a gallery with all its templates."))
    .addHelpText("after", "\nExample:\n  veilface gallery delete staff")
    .action(async (galleryId: string, flags: CommonFlags) => {
      cli.finish(await remove(galleryId, flags, cli.signal));
    });
}

function addCreate(gallery: Command, cli: Cli): void {
  addCommon(gallery.command("create").argument("<gallery>", "its id: 1 to 64 of a-z, 0-9 and -"))
    .description("Create an empty gallery for the embeddings of a model (by default the built-in one).")
    .option("--model <folder>", "take what follows from this model pack")
    .addOption(new Option("--metric <metric>", "how embeddings are compared").choices(["cosine", "euclidean"]))
    .option("--dimension <n>", "components of an embedding", parseCount)
    .option("--norm-bound <r>", "largest Euclidean norm of an embedding (metric euclidean)", parsePositive)
    .option("--model-id <id>", "the model's id")
    .option("--model-version <version>", "the version of the model's weights: those of another are refused")
    .option(
      "--expect <n>",
      "how many templates it is made for (default: 10000): decides how they are packed",
      parseCount,
    )
    .option(
      "--packed-stride <s>",
      "components of a template in each ciphertext, instead of the server's choice",
      parseCount,
    )
    .addHelpText(
      "after",
      "\nExamples:\n  veilface gallery create staff\n  veilface gallery create visitors --metric cosine --dimension 512 --model-id my-arcface --expect 1000000",
    )
    .action(async (galleryId: string, flags: CreateFlags) => {
      cli.finish(await create(galleryId, flags, cli.signal));
    });
}

function addCommon(command: Command): Command {
  return addJson(addServer(addKey(command)));
}

async function create(galleryId: string, flags: CreateFlags, signal: AbortSignal): Promise<Outcome> {
  const space = await chooseSpace(flags);
  using opened = await openClient(flags, signal);
  const { expect: expectedTemplates, packedStride } = flags;
  const options = definedOnly({ signal, expectedTemplates, packedStride });
  const gallery = await opened.client.createGallery(galleryId, space, options);
  const { modelId, dimension, metric } = gallery.space;
  return {
    json: { gallery: describe(gallery) },
    text: [`gallery ${galleryId} created for ${modelId}: ${dimension} components, ${metric}`],
    yes: true,
  };
}

async function chooseSpace(flags: CreateFlags): Promise<ModelSpace> {
  const { dimension, metric, modelId, modelVersion: version, normBound } = flags;
  const complete = dimension !== undefined && metric !== undefined && modelId !== undefined;
  const chosen = complete ? { id: modelId, dimension, metric, threshold: 0 } : await cardOf(flags);
  return spaceOf({ ...chosen, ...definedOnly({ version, normBound }) });
}

/** The model pack's card with what the flags say instead; the version of another model is not the pack's. */
async function cardOf({ dimension, metric, modelId, ...flags }: CreateFlags): Promise<EmbeddingCard> {
  const { version, ...card } = (await loadPack(flags)).card;
  return {
    ...card,
    ...definedOnly({ dimension, metric }),
    ...(modelId === undefined ? { version } : { id: modelId }),
  };
}

async function list(flags: CommonFlags, signal: AbortSignal): Promise<Outcome> {
  using opened = await openClient(flags, signal);
  const galleries = await opened.client.listGalleries({ signal });
  const table = formatTable(
    ["gallery", "templates", "model", "dimension", "metric", "packed stride", "note"],
    galleries.map(rowOf),
  );
  return {
    json: { galleries: galleries.map(describe) },
    text: galleries.length === 0 ? ["no galleries under this key"] : table,
    yes: true,
  };
}

function rowOf({ galleryId, templateCount, space, packedStride, draftOf }: GalleryInfo): string[] {
  const note = draftOf === undefined ? "" : `draft of ${draftOf}`;
  return [
    galleryId,
    String(templateCount),
    space.modelId,
    String(space.dimension),
    space.metric,
    String(packedStride),
    note,
  ];
}

async function remove(galleryId: string, flags: CommonFlags, signal: AbortSignal): Promise<Outcome> {
  using opened = await openClient(flags, signal);
  await opened.client.deleteGallery(galleryId, { signal });
  return { json: { galleryId, deleted: true }, text: [`gallery ${galleryId} deleted`], yes: true };
}
