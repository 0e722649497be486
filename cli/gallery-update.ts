import { InvalidArgumentError } from "commander";
import type { Command } from "commander";
import { definedOnly } from "@veilface/client/advanced";
import { describe } from "./gallery-json.ts";
import { addJson, addKey, addServer, openClient, parseCount } from "./options.ts";
import type { KeyFlags, ServerFlags } from "./options.ts";
import type { Cli, Outcome } from "./outcome.ts";

type Labels = Readonly<Record<string, string>>;

interface UpdateFlags extends KeyFlags, ServerFlags {
  /** False for --no-label. */
  label?: Labels | false;
  expect?: number;
}

/** Adds `gallery update`. */
export function addUpdate(gallery: Command, cli: Cli): void {
  const command = gallery
    .command("update")
    .argument("<gallery>")
    .description("Change the labels of a gallery, or how many templates it is for. The server sees labels.")
    .option("--label <key=value...>", "the labels that it has from now on, in place of those it had", addLabel)
    .option("--no-label", "take all labels away")
    .option("--expect <n>", "how many templates it is made for: decides how they are packed", parseCount)
    .addHelpText("after", "\nExample:\n  veilface gallery update staff --label site=north --label owner=security")
    .action(async (galleryId: string, flags: UpdateFlags) => {
      cli.finish(await update(galleryId, flags, cli.signal));
    });
  addJson(addServer(addKey(command)));
}

function addLabel(text: string, before: Labels | boolean | undefined): Labels {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("expected key=value.");
  return { ...(typeof before === "object" ? before : {}), [text.slice(0, at)]: text.slice(at + 1) };
}

async function update(
  galleryId: string,
  { label, expect, ...flags }: UpdateFlags,
  signal: AbortSignal,
): Promise<Outcome> {
  using opened = await openClient(flags, signal);
  // commander gives true where neither --label nor --no-label is there.
  const labels = label === false ? {} : typeof label === "object" ? label : undefined;
  const changes = definedOnly({ labels, expectedTemplates: expect });
  const gallery = await opened.client.updateGallery(galleryId, changes, { signal });
  const labeled = Object.entries(gallery.labels).map(([key, value]) => `${key}=${value}`);
  const text = [`gallery ${galleryId} is for ${gallery.expectedTemplates} templates`];
  return { json: { gallery: describe(gallery) }, text: [...text, ...labeled.map((one) => `  ${one}`)], yes: true };
}
