import { plainDistance } from "@veilface/client";
import type { Command } from "commander";
import { decide, identificationThresholdOf, modelOf, spaceOf, thresholdOf } from "@veilface/client";
import type { Candidate, RefusedTemplate } from "@veilface/client";
import { checkId, textOfRefused } from "@veilface/client/advanced";
import { isKnown, reworded, serverReasonOf } from "./errors.ts";
import type { CliError, KnownError } from "./errors.ts";
import { expectedFalseMatches } from "@veilface/face";
import { addJson, addKey, addModel, addServer, addThreshold, openClient, parseCount } from "./options.ts";
import type { KeyFlags, ModelFlags, ServerFlags, ThresholdFlags } from "./options.ts";
import { formatDistance, formatTable } from "./outcome.ts";
import type { Cli, Outcome } from "./outcome.ts";
import { openPhotoEncoder, withTakenFaces } from "./photos.ts";

interface VerifyFlags extends KeyFlags, ServerFlags, ModelFlags, ThresholdFlags {}

interface IdentifyFlags extends VerifyFlags {
  maxCandidates: number;
}

interface CompareFlags extends ModelFlags, ThresholdFlags {}

export function addVerify(program: Command, cli: Cli): void {
  const command = program
    .command("verify")
    .argument("<gallery>")
    .argument("<subject>", "who the person claims to be")
    .argument("<image>", "a photo that shows one face")
    .description("Check whether a photo shows a subject (1:1). Exit code 0 if accepted, 1 if not.")
    .addHelpText("after", "\nExample:\n  veilface verify staff ada door.jpg")
    .action(async (...[galleryId, subjectId, image, flags]: [string, string, string, VerifyFlags]) => {
      cli.finish(await verify({ galleryId, subjectId, image }, flags, cli.signal));
    });
  addJson(addThreshold(addModel(addServer(addKey(command)))));
}

export function addIdentify(program: Command, cli: Cli): void {
  const command = program
    .command("identify")
    .argument("<gallery>")
    .argument("<image>", "a photo that shows one face")
    .description("Find who a photo may show (1:N). Exit code 0 if somebody is near enough, 1 if nobody is.")
    .option("--max-candidates <n>", "how many subjects to list", parseCount, 5)
    .addHelpText("after", "\nExample:\n  veilface identify staff door.jpg --max-candidates 3")
    .action(async (galleryId: string, image: string, flags: IdentifyFlags) => {
      cli.finish(await identify({ galleryId, image }, flags, cli.signal));
    });
  addJson(addThreshold(addModel(addServer(addKey(command)))));
}

export function addCompare(program: Command, cli: Cli): void {
  const command = program
    .command("compare")
    .argument("<image-a>")
    .argument("<image-b>")
    .description(
      "Compare two photos on this machine, in plain: for understanding a model. Exit code 0 if they are near enough, 1 if not.",
    )
    .addHelpText("after", "\nExample:\n  veilface compare a.jpg b.jpg")
    .action(async (a: string, b: string, flags: CompareFlags) => {
      cli.finish(await compare(a, b, flags));
    });
  addJson(addThreshold(addModel(command)));
}

/** A photo, by its path, that is compared with a gallery. */
interface PhotoQuestion {
  readonly galleryId: string;
  readonly image: string;
}

async function verify(
  { galleryId, subjectId, image }: PhotoQuestion & { readonly subjectId: string },
  flags: VerifyFlags,
  signal: AbortSignal,
): Promise<Outcome> {
  checkId("subject", subjectId);
  using opened = await openClient(flags, signal);
  await opened.client.getGallery(galleryId, { signal });
  await using encoder = await openPhotoEncoder(flags);
  const { embedding } = await encoder.encode(image);
  const threshold = flags.threshold ?? thresholdOf(encoder.card);
  const refused: RefusedTemplate[] = [];
  const onRefused = (templates: readonly RefusedTemplate[]): void => void refused.push(...templates);
  const { accepted, distance, templateId } = await opened.client
    .verify(galleryId, { subjectId, embedding }, { threshold, ...modelOf(encoder.card), signal, onRefused })
    .catch((cause: unknown) => {
      throw isNobody(cause) ? nobody(galleryId, subjectId, cause) : cause;
    });
  const verdict = accepted ? "accepted" : "not accepted";
  return withTakenFaces(encoder, {
    json: { accepted, galleryId, subjectId, templateId, distance, threshold, refused },
    text: [
      `${verdict}: ${subjectId} at distance ${formatDistance(distance)} (threshold ${threshold})`,
      ...refusedLine(refused),
    ],
    yes: accepted,
  });
}

function isNobody(cause: unknown): cause is KnownError {
  return isKnown(cause) && serverReasonOf(cause) === "SUBJECT_NOT_FOUND";
}

function nobody(galleryId: string, subjectId: string, cause: KnownError): CliError {
  return reworded(
    cause,
    `nobody is enrolled as ${subjectId} in ${galleryId}: see veilface list ${galleryId} for who is`,
  );
}

async function identify(
  { galleryId, image }: PhotoQuestion,
  flags: IdentifyFlags,
  signal: AbortSignal,
): Promise<Outcome> {
  using opened = await openClient(flags, signal);
  const { templateCount } = await opened.client.getGallery(galleryId, { signal });
  await using encoder = await openPhotoEncoder(flags);
  const { embedding } = await encoder.encode(image);
  const threshold = flags.threshold ?? identificationThresholdOf(encoder.card);
  const refused: RefusedTemplate[] = [];
  const onRefused = (templates: readonly RefusedTemplate[]): void => void refused.push(...templates);
  const options = { maxCandidates: flags.maxCandidates, ...modelOf(encoder.card), signal, onRefused };
  const nearest = await opened.client.identify(galleryId, embedding, options);
  const candidates = nearest.map((candidate) => ({
    ...candidate,
    accepted: decide(candidate.distance, threshold).accepted,
  }));
  const falseMatches = expectedFalseMatches(encoder.card, threshold, templateCount);
  const found = { galleryId, threshold, templates: templateCount, expectedFalseMatches: falseMatches ?? null };
  return withTakenFaces(encoder, identified({ ...found, candidates, refused }));
}

/** The answer of an identification. */
interface Identified {
  readonly galleryId: string;
  readonly threshold: number;
  /** How many the gallery holds. */
  readonly templates: number;
  /** Null where it is unknown. */
  readonly expectedFalseMatches: number | null;
  readonly candidates: readonly (Candidate & { readonly accepted: boolean })[];
  readonly refused: readonly RefusedTemplate[];
}

function identified(found: Identified): Outcome {
  const { threshold, candidates, refused } = found;
  const rows = candidates.map(({ subjectId, distance, accepted }) => [
    subjectId,
    formatDistance(distance),
    accepted ? "yes" : "no",
  ]);
  const table =
    candidates.length === 0
      ? ["the gallery is empty"]
      : formatTable(["subject", "distance", `within ${threshold}`], rows);
  return {
    json: { ...found },
    text: [...table, expectation(found), ...refusedLine(refused)],
    yes: candidates.some(({ accepted }) => accepted),
  };
}

function refusedLine(refused: readonly RefusedTemplate[]): string[] {
  return refused.length === 0 ? [] : [textOfRefused(refused)];
}

function expectation({ expectedFalseMatches: falseMatches, threshold, templates }: Identified): string {
  const among = `${templates} template${templates === 1 ? "" : "s"}`;
  if (falseMatches === null)
    return `how many false matches to expect among ${among} is unknown: the model's card states no falseMatchRates`;
  return `expect about ${Number(falseMatches.toPrecision(1))} false matches among ${among} within ${threshold}, more where people are alike`;
}

async function compare(imageA: string, imageB: string, flags: CompareFlags): Promise<Outcome> {
  await using encoder = await openPhotoEncoder(flags);
  const [a, b] = [await encoder.encode(imageA), await encoder.encode(imageB)];
  const { modelId, metric } = spaceOf(encoder.card);
  const decision = decide(
    plainDistance(spaceOf(encoder.card), a.embedding, b.embedding),
    flags.threshold ?? thresholdOf(encoder.card),
  );
  const verdict = decision.accepted ? "same person" : "different people";
  return withTakenFaces(encoder, {
    json: { ...decision, metric, modelId },
    text: [
      `${verdict}: distance ${formatDistance(decision.distance)} (threshold ${decision.threshold}, ${metric}, ${modelId})`,
    ],
    yes: decision.accepted,
  });
}
