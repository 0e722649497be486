import type { Command } from "commander";
import type { KeyHolder } from "@veilface/client";
import { definedOnly } from "@veilface/client/advanced";
import { addNamed, deletedText, namedIds } from "./deletion.ts";
import type { NamedFlags } from "./deletion.ts";
import { templateIdOf } from "./enroll-photos.ts";
import { addJson, addKey, addServer, openClient } from "./options.ts";
import type { KeyFlags, ServerFlags } from "./options.ts";
import { formatTable } from "./outcome.ts";
import type { Cli, Outcome } from "./outcome.ts";
import { lookThrough } from "./people-folder.ts";
import { readPhoto } from "./photos.ts";
import { struckText } from "./struck.ts";

type CommonFlags = KeyFlags & ServerFlags;

interface ListFlags extends CommonFlags {
  dir?: string;
}

type DeleteFlags = CommonFlags & NamedFlags;

export function addList(program: Command, cli: Cli): void {
  const command = program
    .command("list")
    .argument("<gallery>")
    .description("List who is enrolled in a gallery.")
    .option("--dir <people>", "show which photo of this folder, as enroll --dir takes it, a template was made from")
    .addHelpText("after", "\nExamples:\n  veilface list staff\n  veilface list staff --dir people/")
    .action(async (galleryId: string, flags: ListFlags) => {
      cli.finish(await list(galleryId, flags, cli.signal));
    });
  addJson(addServer(addKey(command)));
}

export function addDelete(program: Command, cli: Cli): void {
  const command = addNamed(program.command("delete").argument("<gallery>"))
    .description(
      "Delete people or single templates from a gallery; says which were not there. Exit code 1 if there was nothing to delete.",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  veilface delete staff --subject ada\n  veilface delete staff --template 3f2a9c0d11e84b77",
    )
    .action(async (galleryId: string, flags: DeleteFlags) => {
      cli.finish(await remove(galleryId, flags, cli.signal));
    });
  addJson(addServer(addKey(command)));
}

async function list(galleryId: string, flags: ListFlags, signal: AbortSignal): Promise<Outcome> {
  using opened = await openClient(flags, signal);
  const entries = await opened.client.listTemplates(galleryId, { signal });
  const photos = flags.dir === undefined ? undefined : await photosByTemplate(flags.dir, opened.keyHolder);
  const templates = entries
    .map(({ subjectId, templateId }) =>
      definedOnly({ subjectId, templateId, photo: photos && (photos.get(templateId) ?? null) }),
    )
    .sort((a, b) => compareText(`${a.subjectId} ${a.templateId}`, `${b.subjectId} ${b.templateId}`));
  const header = ["subject", "template", ...(photos ? ["photo"] : [])];
  const rows = templates.map(({ subjectId, templateId, photo = null }) => {
    return [subjectId, templateId, ...(photos ? [photo ?? "-"] : [])];
  });
  const text = rows.length === 0 ? ["nobody is enrolled"] : formatTable(header, rows);
  return { json: { galleryId, templates }, text, yes: true };
}

/** Paths by the ids of the templates that enrolling the photos makes; without encoding them. */
async function photosByTemplate(dir: string, keyHolder: KeyHolder): Promise<Map<string, string>> {
  const paths = new Map<string, string>();
  for (const { subjectId, path } of (await lookThrough(dir)).photos) {
    const image = await readPhoto(path).catch(() => undefined);
    const templateId = image && templateIdOf(keyHolder, subjectId, image);
    if (templateId !== undefined && !paths.has(templateId)) paths.set(templateId, path);
  }
  return paths;
}

async function remove(galleryId: string, flags: DeleteFlags, signal: AbortSignal): Promise<Outcome> {
  const named = namedIds(flags, "gallery delete");
  using opened = await openClient(flags, signal);
  const { deleted, struck, notFound } = await opened.client.deleteTemplates(galleryId, named, { signal });
  const text = [...deletedText(galleryId, { deleted, notFound }), ...struckText(galleryId, struck)];
  return { json: { galleryId, deleted, struck, notFound }, text, yes: deleted > 0 };
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
