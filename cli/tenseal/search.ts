import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { PairwiseClient, readTensealFile } from "@veilface/client";
import { systemErrorText } from "@veilface/client/advanced";
import { CliError } from "../errors.ts";
import { addJson, addServer, serverOptions } from "../options.ts";
import type { ServerFlags } from "../options.ts";
import { writeOutput } from "../output-file.ts";
import { formatTable } from "../outcome.ts";
import type { Cli, Outcome } from "../outcome.ts";
import { readingInPython } from "./in-python.ts";

/** A template that was compared; `why` says why there is no result, which is not written then. */
interface Match {
  readonly subjectId: string;
  readonly templateId: string;
  readonly out: string;
  readonly why?: string | undefined;
}

interface SearchFlags extends ServerFlags {
  out: string;
  subject?: string;
  force?: true;
}

const SEARCH_EXAMPLES = `
Examples:
  veilface tenseal search staff probe.bin --out distances --json > search.json
  veilface tenseal search staff probe.bin --out distances --subject ada

In Python:
  import json, tenseal as ts
  context = ts.context_from(open("secret.bin", "rb").read())
  for match in json.load(open("search.json"))["matches"]:
      distance = ts.lazy_ckks_vector_from(open(match["out"], "rb").read())
      distance.link_context(context)
      print(match["subjectId"], distance.decrypt()[0])`;

export function addSearch(tenseal: Command, cli: Cli): void {
  const command = tenseal
    .command("search")
    .argument("<gallery>")
    .argument("<probe>", "an encrypted vector: what ts.ckks_vector(...).serialize() gives, raw or base64 text")
    .description(
      "Compare an encrypted vector with the templates of a gallery, and write an encrypted result for each: TEMPLATE.bin.",
    )
    .requiredOption("--out <folder>", "where to write the results; made if it is not there")
    .option("--subject <id>", "compare with this person's templates alone")
    .option("--force", "replace files that are there")
    .addHelpText("after", SEARCH_EXAMPLES)
    .action(async (galleryId: string, probe: string, flags: SearchFlags) => {
      cli.finish(await search({ galleryId, path: probe }, flags, cli.signal));
    });
  addJson(addServer(command));
}

async function search(
  { galleryId, path }: { galleryId: string; path: string },
  flags: SearchFlags,
  signal: AbortSignal,
): Promise<Outcome> {
  const { out: folder, subject, force = false } = flags;
  const { bytes } = await readTensealFile(path);
  using client = new PairwiseClient(await serverOptions(flags));
  const probe = { encoding: "TENSEAL_CKKS_VECTOR", bytes, name: path } as const;
  const found =
    subject === undefined
      ? client.search(galleryId, probe, { signal })
      : client.compareTemplates(galleryId, { subjectId: subject, probe }, { signal });
  const matches: Match[] = [];
  for await (const { subjectId, templateId, distance, why } of found) {
    if (distance === undefined) {
      matches.push({ subjectId, templateId, out: "", why });
      continue;
    }
    const out = join(folder, `${templateId}.bin`);
    await makeFolder(folder);
    await writeOutput(out, distance.bytes, force);
    matches.push({ subjectId, templateId, out });
  }
  matches.sort((a, b) => (a.out < b.out ? -1 : Number(a.out > b.out)));
  return { json: { galleryId, matches }, text: textOf(matches), yes: matches.length > 0 };
}

function inWords(why: string): string {
  return why === "IDENTICAL"
    ? "none: the server says that it is the probe itself, at distance 0 (not checked)"
    : `none: ${why}`;
}

function textOf(matches: readonly Match[]): string[] {
  if (matches.length === 0) return ["nobody is enrolled"];
  const table = formatTable(
    ["subject", "template", "encrypted result"],
    matches.map(({ subjectId, templateId, out, why }) => [
      subjectId,
      templateId,
      why === undefined ? out : inWords(why),
    ]),
  );
  const [written] = matches.filter(({ why }) => why === undefined);
  return written === undefined ? table : [...table, ...readingInPython(written.out, false)];
}

/** A folder for results, made where it is not there. Throws CliError USAGE where it cannot be. */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (cause) {
    throw new CliError("USAGE", `the folder ${folder} cannot be made: ${systemErrorText(cause)}`, { cause });
  }
}
