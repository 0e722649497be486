import type { Command } from "commander";
import { loadKeyFile } from "@veilface/client";
import { definedOnly } from "@veilface/client/advanced";
import { addJson, addKey, addServer, openClient } from "./options.ts";
import type { KeyFlags, ServerFlags } from "./options.ts";
import type { Cli, Outcome } from "./outcome.ts";
import { askNewPassphrase } from "./passphrase.ts";
import { showProgress } from "./progress.ts";
import type { Progress } from "./progress.ts";

interface RotateFlags extends KeyFlags, ServerFlags {
  newKey: string;
  newPassphraseFile?: string;
  gallery?: string[];
}

const EXAMPLES = `
In this order:
  veilface keygen --key new.key
  veilface key rotate --new-key new.key
  veilface gallery list --key new.key     all galleries are there: from now on use new.key, and then delete the old key file

Keep both key files until then. Each gallery changes keys in one step; a run that is interrupted is run again and goes on with the rest.`;

export function addKeyCommands(program: Command, cli: Cli): void {
  const key = program.command("key").description("Renew keys.");
  const rotate = key
    .command("rotate")
    .description("Encrypt the galleries of a key anew under another key.")
    .requiredOption("--new-key <file>", "the key file to change to, made by keygen")
    .option(
      "--new-passphrase-file <file>",
      "file whose first line is its passphrase (else VEILFACE_NEW_PASSPHRASE, else as for the old one)",
    )
    .option("--gallery <ids...>", "only these galleries")
    .addHelpText("after", `${EXAMPLES}\n\nExample:\n  veilface key rotate --key old.key --new-key new.key`)
    .action(async (flags: RotateFlags) => {
      cli.finish(await rotateKey(flags, cli.signal));
    });
  addJson(addServer(addKey(rotate)));
}

async function rotateKey(flags: RotateFlags, signal: AbortSignal): Promise<Outcome> {
  using opened = await openClient(flags, signal);
  using newKeyHolder = await loadKeyFile(flags.newKey, await askNewPassphrase(flags.newPassphraseFile, signal));
  using progress = new GalleryProgress();
  const options = definedOnly({ signal, onProgress: progress.show, galleryIds: flags.gallery });
  const rotated = await opened.client.rotateKey(newKeyHolder, options);
  const galleries = rotated.map(({ gallery, templates }) => ({ galleryId: gallery.galleryId, templates }));
  const lines = galleries.map(
    ({ galleryId, templates }) => `${galleryId}: ${templates} templates are under the new key`,
  );
  const json = { contextId: newKeyHolder.contextId, galleries };
  return { json, text: lines.length === 0 ? ["nothing to do: no gallery is under the old key"] : lines, yes: true };
}

/** One bar after the other, a gallery each. */
class GalleryProgress implements Disposable {
  #galleryId = "";
  #progress: Progress | undefined;

  readonly show = (galleryId: string, done: number, total: number): void => {
    if (galleryId !== this.#galleryId) {
      this.#progress?.[Symbol.dispose]();
      this.#galleryId = galleryId;
      this.#progress = showProgress(galleryId, total);
    }
    this.#progress?.advance(done);
  };

  [Symbol.dispose](): void {
    this.#progress?.[Symbol.dispose]();
  }
}
