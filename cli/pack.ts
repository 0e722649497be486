import type { Command } from "commander";
import { definedOnly } from "@veilface/client/advanced";
import { addJson, addKey, addServer, openClient, parseCount } from "./options.ts";
import type { KeyFlags, ServerFlags } from "./options.ts";
import type { Cli, Outcome } from "./outcome.ts";
import { showProgress } from "./progress.ts";

interface PackFlags extends KeyFlags, ServerFlags {
  stride?: number;
  discardDrafts?: true;
}

const EXAMPLES = `
Examples:
  veilface gallery pack staff
  veilface gallery pack staff --discard-drafts

The gallery is searched as it was until it is replaced in one step; a run that is interrupted changes nothing and is run again. What it
left behind is a draft, listed by gallery list, and discarded after a day or by --discard-drafts.`;

export function addPack(gallery: Command, cli: Cli): void {
  const command = gallery
    .command("pack")
    .argument("<gallery>")
    .description(
      "Pack templates enrolled alone into blocks, which are searched far faster, and remove the last bits of deleted ones.",
    )
    .option(
      "--stride <s>",
      "components of a template in each ciphertext (default: the server's choice for the gallery's size)",
      parseCount,
    )
    .option("--discard-drafts", "first delete what interrupted runs left behind; not while another run is under way")
    .addHelpText("after", EXAMPLES)
    .action(async (galleryId: string, flags: PackFlags) => {
      cli.finish(await pack(galleryId, flags, cli.signal));
    });
  addJson(addServer(addKey(command)));
}

async function pack(galleryId: string, flags: PackFlags, signal: AbortSignal): Promise<Outcome> {
  using opened = await openClient(flags, signal);
  const discardedDrafts = flags.discardDrafts === true ? await opened.client.discardDrafts(galleryId, { signal }) : 0;
  using progress = showProgress("templates");
  const { stride } = flags;
  const options = definedOnly({ signal, onProgress: progress.advance, stride });
  const { templates, gallery } = await opened.client.packGallery(galleryId, options);
  const text = [`${templates} templates packed in ${galleryId}, at stride ${gallery.packedStride}`];
  if (discardedDrafts > 0) text.unshift(`${discardedDrafts} draft${discardedDrafts === 1 ? "" : "s"} discarded`);
  return { json: { galleryId, templates, packedStride: gallery.packedStride, discardedDrafts }, text, yes: true };
}
