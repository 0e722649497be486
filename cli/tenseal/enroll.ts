import { createHash } from "node:crypto";
import type { Command } from "commander";
import { PairwiseClient, readTensealFile } from "@veilface/client";
import type { PairwiseEnrollment } from "@veilface/client";
import { checkId } from "@veilface/client/advanced";
import { isKnown, reworded } from "../errors.ts";
import type { CliError, KnownError } from "../errors.ts";
import { addJson, addServer, serverOptions } from "../options.ts";
import type { ServerFlags } from "../options.ts";
import type { Cli, Outcome } from "../outcome.ts";

const TEMPLATE_ID_DIGITS = 16;

export function addEnroll(tenseal: Command, cli: Cli): void {
  const command = tenseal
    .command("enroll")
    .argument("<gallery>")
    .argument("<subject>", "the person's id: 1 to 64 of a-z, 0-9 and -")
    .argument("<vectors...>", "encrypted vectors: what ts.ckks_vector(...).serialize() gives, raw or base64 text")
    .description(
      "Enroll encrypted vectors of a person. Enrolling a file again replaces it, so a broken run is simply run again.",
    )
    .addHelpText("after", "\nExample:\n  veilface tenseal enroll staff ada ada-1.bin ada-2.bin")
    .action(async (...[galleryId, subjectId, paths, flags]: [string, string, string[], ServerFlags]) => {
      cli.finish(await enroll({ galleryId, subjectId, paths }, flags, cli.signal));
    });
  addJson(addServer(command));
}

/** A person's vectors, by their paths, and where they go. */
interface Person {
  readonly galleryId: string;
  readonly subjectId: string;
  readonly paths: readonly string[];
}

async function enroll(
  { galleryId, subjectId, paths }: Person,
  flags: ServerFlags,
  signal: AbortSignal,
): Promise<Outcome> {
  checkId("subject", subjectId);
  using client = new PairwiseClient(await serverOptions(flags));
  const templates: { templateId: string; subjectId: string }[] = [];
  const onProgress = (
    _enrolled: number,
    { templateId, subjectId }: { templateId: string; subjectId: string },
  ): void => {
    templates.push({ templateId, subjectId });
  };
  try {
    await client.enroll(galleryId, vectorsOf(subjectId, paths), { signal, onProgress });
  } catch (cause) {
    throw templates.length > 0 && isKnown(cause) ? partly(cause, templates.length, paths.length) : cause;
  }
  const text = `${templates.length} vector${templates.length === 1 ? "" : "s"} of ${subjectId} enrolled in ${galleryId}`;
  return { json: { galleryId, enrolled: templates.length, templates }, text: [text], yes: true };
}

/**
 * The same vector of the same person has the same id, so it is replaced rather than doubled. It is a ciphertext: the id
 * tells nothing.
 */
async function* vectorsOf(
  subjectId: string,
  paths: readonly string[],
): AsyncGenerator<PairwiseEnrollment, void, undefined> {
  for (const path of paths) {
    const { bytes } = await readTensealFile(path);
    const templateId = createHash("sha256")
      .update(`${subjectId}\n`)
      .update(bytes)
      .digest("hex")
      .slice(0, TEMPLATE_ID_DIGITS);
    yield { templateId, subjectId, vector: { encoding: "TENSEAL_CKKS_VECTOR", bytes, name: path } };
  }
}

function partly(cause: KnownError, enrolled: number, all: number): CliError {
  return reworded(
    cause,
    `${cause.message}; ${enrolled} of ${all} vectors are enrolled: run it again once that is mended`,
  );
}
