import type { Command } from "commander";
import { modelOf } from "@veilface/client";
import type { VeilfaceClient } from "@veilface/client";
import { PackedCrypto, checkId } from "@veilface/client/advanced";
import { CliError } from "./errors.ts";
import { enrollEmbeddings, partly } from "./enroll-embeddings.ts";
import type { EmbeddingsFlags } from "./enroll-embeddings.ts";
import { PhotoRun } from "./enroll-photos.ts";
import type { IdentifiedPhoto } from "./enroll-photos.ts";
import { addJson, addKey, addModel, addServer, openClient } from "./options.ts";
import type { KeyFlags, ModelFlags, ServerFlags } from "./options.ts";
import { counted, formatTable } from "./outcome.ts";
import type { Cli, Outcome } from "./outcome.ts";
import { lookThrough } from "./people-folder.ts";
import type { People, Photo, Remark } from "./people-folder.ts";
import { openPhotoEncoder, withTakenFaces } from "./photos.ts";
import type { PhotoEncoder } from "./photos.ts";
import { struckText } from "./struck.ts";

interface EnrollFlags extends KeyFlags, ServerFlags, ModelFlags, EmbeddingsFlags {
  dir?: string;
  again?: true;
}

// Up to here all photos that are named are looked at before any is enrolled: one bad photo leaves nothing half done.
const FEW_PHOTOS = 200;

const EXAMPLES = `
Examples:
  veilface enroll staff ada ada-1.jpg ada-2.jpg
  veilface enroll staff --dir people/
  veilface enroll staff --embeddings faces.npy --ids names.txt

With --dir, what is enrolled already is passed over, and the run goes on past photos that cannot be enrolled: they
are listed at the end, and the exit code is then 1. Where photos are named, a bad one is an error, exit code 2, and
none is enrolled.

Embeddings files, of any size:
  .npy    numpy.save of a (templates, components) array of float16, float32 or float64
  .csv    id[,subject],component,... with or without a header line, such as pandas writes: columns id and subject, and components
          of any name; without id an unnamed first column (the index) is the id, and without that rows are numbered
  .jsonl  {"templateId": ..., "subjectId": ..., "embedding": [...]} a line; both ids may be left out`;

export function addEnroll(program: Command, cli: Cli): void {
  const command = program
    .command("enroll")
    .argument("<gallery>")
    .argument("[subject]", "the person's id: 1 to 64 of a-z, 0-9 and -")
    .argument("[images...]", "photos that show one face each")
    .description(
      "Encrypt faces and enroll them. Enrolling a photo or an id again replaces it, so a broken run is simply run again.",
    )
    .option("--dir <people>", "a folder with a folder of photos per person, named by the person's id")
    .option("--again", "with --dir: encode and replace also what is enrolled already, such as for --largest-face")
    .option("--embeddings <file>", "embeddings made elsewhere, by the gallery's model: .npy, .csv or .jsonl")
    .option(
      "--ids <file>",
      "with .npy: a line subjectId or templateId,subjectId for every row (default: row-0000001 and so on)",
    )
    .option("--model-id <id>", "with --embeddings: the model that made them, refused where it is not the gallery's")
    .option("--model-version <version>", "with --embeddings: the version of that model's weights, refused likewise")
    .addHelpText("after", EXAMPLES)
    .action(async (...[galleryId, subjectId, images, flags]: [string, string | undefined, string[], EnrollFlags]) => {
      cli.finish(await enrollNamed({ galleryId, subjectId, images }, flags, cli.signal));
    });
  addJson(addModel(addServer(addKey(command))));
}

/** What the command line names, beside its flags. */
interface NamedOnes {
  readonly galleryId: string;
  readonly subjectId: string | undefined;
  readonly images: readonly string[];
}

async function enrollNamed(
  { galleryId, subjectId, images }: NamedOnes,
  flags: EnrollFlags,
  signal: AbortSignal,
): Promise<Outcome> {
  if (flags.embeddings === undefined)
    return enroll({ galleryId, people: await choosePhotos(subjectId, images, flags.dir) }, flags, signal);
  if (subjectId !== undefined || flags.dir !== undefined)
    throw new CliError("USAGE", "--embeddings takes subjects from its file: give it alone");
  return enrollEmbeddings({ galleryId, path: flags.embeddings }, flags, signal);
}

async function choosePhotos(subjectId: string | undefined, images: readonly string[], dir?: string): Promise<People> {
  if (dir !== undefined) {
    if (subjectId !== undefined)
      throw new CliError("USAGE", "--dir takes subjects from its folders: give either --dir or a subject with images");
    return lookThrough(dir);
  }
  if (subjectId === undefined || images.length === 0)
    throw new CliError("USAGE", "nothing to enroll: give a subject with its images, --dir or --embeddings");
  checkId("subject", subjectId);
  return { photos: images.map((path) => ({ subjectId, path })), passedOver: [], failed: [] };
}

/** People whose photos are enrolled, and where. */
interface PeopleToEnroll {
  readonly galleryId: string;
  readonly people: People;
}

async function enroll(
  { galleryId, people }: PeopleToEnroll,
  flags: EnrollFlags,
  signal: AbortSignal,
): Promise<Outcome> {
  using opened = await openClient(flags, signal);
  const { client, keyHolder } = opened;
  // Asked first: photos take long, and a gallery that is not there should not cost them.
  const { space } = await client.getGallery(galleryId, { signal });
  const crypto = new PackedCrypto(keyHolder, space);
  const all = flags.dir === undefined || flags.again === true;
  const known = all ? [] : await client.listTemplates(galleryId, { signal });
  const check = flags.dir === undefined ? undefined : (embedding: Float32Array): unknown => crypto.encode(embedding);
  const run = new PhotoRun({ keyHolder, signal, known: new Set(known.map(({ templateId }) => templateId)), check });
  run.passedOver.push(...people.passedOver);
  run.failed.push(...people.failed);
  await using encoder = await openPhotoEncoder(flags);
  const atOnce = flags.dir === undefined && people.photos.length <= FEW_PHOTOS;
  const done = await enrollPhotos({ client, galleryId, signal }, { photos: people.photos, run, encoder, atOnce });
  return withTakenFaces(encoder, report(galleryId, run, done));
}

/** Photos on their way into a gallery. */
interface PhotosToEnroll {
  readonly photos: readonly Photo[];
  readonly run: PhotoRun;
  readonly encoder: PhotoEncoder;
  /** Whether all are encoded before the first is enrolled. */
  readonly atOnce: boolean;
}

/** What enrolling photos came to. */
interface EnrolledPhotos {
  readonly enrolled: readonly IdentifiedPhoto[];
  /** Templates that were replaced and whose bits stay in packed blocks. */
  readonly struck: readonly string[];
}

async function enrollPhotos(
  { client, galleryId, signal }: { client: VeilfaceClient; galleryId: string; signal: AbortSignal },
  { photos, run, encoder, atOnce }: PhotosToEnroll,
): Promise<EnrolledPhotos> {
  const encoded = run.encode(photos, encoder);
  const source = atOnce ? await Array.fromAsync(encoded) : encoded;
  const enrolled: IdentifiedPhoto[] = [];
  const struck = new Set<string>();
  try {
    await client.enroll(galleryId, source, {
      signal,
      ...modelOf(encoder.card),
      onProgress: (_enrolled, { templateId, subjectId }) => {
        enrolled.push({ templateId, subjectId, path: run.pathOf(templateId) });
      },
      onStruck: (ids) => {
        ids.forEach((id) => struck.add(id));
      },
      // Photos come slowly: each is enrolled as it comes, and can be erased alone. Packing them is for gallery pack.
      packing: "never",
    });
  } catch (cause) {
    throw partly(cause, enrolled.length, `of ${photos.length} photos`);
  }
  return { enrolled, struck: [...struck] };
}

function report(galleryId: string, run: PhotoRun, { enrolled, struck }: EnrolledPhotos): Outcome {
  const { already, failed, passedOver, notes } = run;
  const subjects = new Set(enrolled.map(({ subjectId }) => subjectId)).size;
  const also = already.length === 0 ? "" : `; ${already.length} enrolled already`;
  const rows = enrolled.map(({ templateId, subjectId, path }) => [templateId, subjectId, path]);
  const text = [
    `${counted(enrolled.length, "photo")} of ${counted(subjects, "subject")} enrolled in ${galleryId}${also}`,
    ...(rows.length === 0 ? [] : formatTable(["template", "subject", "photo"], rows)),
    ...listed(
      "not enrolled",
      failed.map(({ message }) => message),
    ),
    ...listed("passed over", passedOver.map(inWords)),
    ...listed("please check", notes.map(inWords)),
    ...struckText(galleryId, struck),
  ];
  const json = {
    galleryId,
    enrolled: enrolled.length,
    templates: enrolled,
    already,
    failed,
    passedOver,
    notes,
    struck,
  };
  return { json, text, yes: failed.length === 0 };
}

function inWords({ path, message }: Remark): string {
  return `${path}: ${message}`;
}

function listed(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`${title}:`, ...lines.map((line) => `  ${line}`)];
}
