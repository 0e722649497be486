import type { Command } from "commander";
import { PairwiseClient } from "@veilface/client";
import { CliError } from "../errors.ts";
import { describe } from "../gallery-json.ts";
import { addJson, addServer, serverOptions } from "../options.ts";
import type { ServerFlags } from "../options.ts";
import { formatTable } from "../outcome.ts";
import type { Cli, Outcome } from "../outcome.ts";
import { describeContext } from "./upload.ts";

interface ListFlags extends ServerFlags {
  gallery?: string;
}

const LIST_EXAMPLES = `
Examples:
  veilface tenseal list                     the contexts on the server
  veilface tenseal list CONTEXT-ID          the galleries of a context
  veilface tenseal list --gallery staff     the templates of a gallery`;

export function addList(tenseal: Command, cli: Cli): void {
  const command = tenseal
    .command("list")
    .argument("[context-id]", "all 64 digits: list its galleries")
    .description("List the pairwise contexts of the server, the galleries of one, or the templates of a gallery.")
    .option("--gallery <gallery>", "list its templates")
    .addHelpText("after", LIST_EXAMPLES)
    .action(async (contextId: string | undefined, flags: ListFlags) => {
      cli.finish(await list(contextId, flags, cli.signal));
    });
  addJson(addServer(command));
}

async function list(
  contextId: string | undefined,
  { gallery, ...flags }: ListFlags,
  signal: AbortSignal,
): Promise<Outcome> {
  if (gallery !== undefined && contextId !== undefined)
    throw new CliError("USAGE", "give either a context's id or --gallery");
  using client = new PairwiseClient(await serverOptions(flags));
  // Awaited here: the client is closed on the way out.
  if (gallery !== undefined) return await listTemplates(client, gallery);
  return contextId === undefined ? await listContexts(client, signal) : await listGalleries(client, contextId, signal);
}

async function listContexts(client: PairwiseClient, signal: AbortSignal): Promise<Outcome> {
  const contexts = (await client.listContexts({ signal })).map(describeContext);
  const rows = contexts.map(({ contextId, degree, modulusBits, maxDimension, createTime }) => [
    contextId,
    String(degree),
    modulusBits.join(" "),
    String(maxDimension),
    createTime,
  ]);
  const table = formatTable(["context", "ring degree", "primes", "max dimension", "created"], rows);
  return { json: { contexts }, text: rows.length === 0 ? ["no pairwise contexts"] : table, yes: true };
}

async function listGalleries(client: PairwiseClient, contextId: string, signal: AbortSignal): Promise<Outcome> {
  // The server knows no galleries of a context that it does not have either, and would say so without a word.
  await client.getContext(contextId, { signal });
  const galleries = await client.listGalleries(contextId, { signal });
  const rows = galleries.map(({ galleryId, templateCount, space }) => [
    galleryId,
    String(templateCount),
    space.modelId,
    String(space.dimension),
    space.metric,
    String(space.normBound),
  ]);
  const table = formatTable(["gallery", "templates", "model", "dimension", "metric", "norm bound"], rows);
  return {
    json: { contextId, galleries: galleries.map(describe) },
    text: rows.length === 0 ? ["no galleries under this context"] : table,
    yes: true,
  };
}

async function listTemplates(client: PairwiseClient, galleryId: string): Promise<Outcome> {
  const templates = (await client.listTemplates(galleryId)).map(({ subjectId, templateId }) => ({
    subjectId,
    templateId,
  }));
  const table = formatTable(
    ["subject", "template"],
    templates.map(({ subjectId, templateId }) => [subjectId, templateId]),
  );
  return { json: { galleryId, templates }, text: templates.length === 0 ? ["nobody is enrolled"] : table, yes: true };
}
