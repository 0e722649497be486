import type { Command } from "commander";
import type { Enrollment } from "../enrollment-units.ts";
import { ClientError } from "../errors.ts";
import { checkId } from "../ids.ts";
import { modelOf } from "../model-space.ts";
import type { KeyHolder } from "../key-holder.ts";
import { enrollEmbeddings, partly } from "./enroll-embeddings.ts";
import type { EmbeddingsFlags } from "./enroll-embeddings.ts";
import { addJson, addKey, addModel, addServer, openClient } from "./options.ts";
import type { KeyFlags, ModelFlags, ServerFlags } from "./options.ts";
import type { Cli, Outcome } from "./outcome.ts";
import { openPhotoEncoder, photosOfPeople, withTakenFaces } from "./photos.ts";
import type { Photo, PhotoEncoder } from "./photos.ts";
import { showProgress } from "./progress.ts";
import { struckText } from "./struck.ts";

interface EnrollFlags extends KeyFlags, ServerFlags, ModelFlags, EmbeddingsFlags {
  dir?: string;
}

/** A photo on its way, or enrolled. */
interface PhotoEnrollment extends Enrollment, Photo {}

// Up to here every photo is looked at before any is enrolled, so that one bad photo leaves nothing half done: a minute's work.
const FEW_PHOTOS = 200;

const EXAMPLES = `
Examples:
  veilface enroll staff ada ada-1.jpg ada-2.jpg
  veilface enroll staff --dir people/
  veilface enroll staff --embeddings faces.npy --ids names.txt

Embeddings files, of any size:
  .npy    numpy.save of a (templates, components) array of float16, float32 or float64
  .csv    id[,subject],component,... with or without a header line
  .jsonl  {"templateId": ..., "subjectId": ..., "embedding": [...]} a line; both ids may be left out`;

export function addEnroll(program: Command, cli: Cli): void {
  const command = program
    .command("enroll")
    .argument("<gallery>")
    .argument("[subject]", "the person's id: 1 to 64 of a-z, 0-9 and -")
    .argument("[images...]", "photos that show one face each")
    .description("Encrypt faces and enroll them. Enrolling a photo or an id again replaces it, so a broken run is simply run again.")
    .option("--dir <people>", "a folder with a folder of photos per person, named by the person's id")
    .option("--embeddings <file>", "embeddings made elsewhere, by the gallery's model: .npy, .csv or .jsonl")
    .option("--ids <file>", "with .npy: a line subjectId or templateId,subjectId for every row (default: row-0000001 and so on)")
    .option("--model-id <id>", "with --embeddings: the model that made them, refused where it is not the gallery's")
    .option("--model-version <version>", "with --embeddings: the version of that model's weights, refused likewise")
    .addHelpText("after", EXAMPLES)
    .action(async (galleryId: string, subjectId: string | undefined, images: string[], flags: EnrollFlags) => {
      if (flags.embeddings !== undefined) {
        if (subjectId !== undefined || flags.dir !== undefined) throw new ClientError("USAGE", "--embeddings takes subjects from its file: give it alone");
        cli.finish(await enrollEmbeddings(galleryId, flags.embeddings, flags, cli.signal));
        return;
      }
      cli.finish(await enroll(galleryId, await choosePhotos(subjectId, images, flags.dir), flags, cli.signal));
    });
  addJson(addModel(addServer(addKey(command))));
}

async function choosePhotos(subjectId: string | undefined, images: readonly string[], dir: string | undefined): Promise<Photo[]> {
  if (dir !== undefined) {
    if (subjectId !== undefined) throw new ClientError("USAGE", "--dir takes subjects from its folders: give either --dir or a subject with images");
    return photosOfPeople(dir);
  }
  if (subjectId === undefined || images.length === 0) throw new ClientError("USAGE", "nothing to enroll: give a subject with its images, --dir or --embeddings");
  checkId("subject", subjectId);
  return images.map((path) => ({ subjectId, path }));
}

async function enroll(galleryId: string, photos: readonly Photo[], flags: EnrollFlags, signal: AbortSignal): Promise<Outcome> {
  using opened = await openClient(flags, signal);
  // Asked first: photos take long, and a gallery that is not there should not cost them.
  await opened.client.getGallery(galleryId, { signal });
  await using encoder = await openPhotoEncoder(flags);
  const encoded = encodeAll(photos, encoder, opened.keyHolder, signal);
  const source = photos.length <= FEW_PHOTOS ? await collect(encoded) : encoded;
  const templates: { templateId: string; subjectId: string }[] = [];
  const onProgress = (_enrolled: number, { templateId, subjectId }: { templateId: string; subjectId: string }): void => {
    templates.push({ templateId, subjectId });
  };
  const struck = new Set<string>();
  const onStruck = (ids: readonly string[]): void => { ids.forEach((id) => struck.add(id)); };
  try {
    // Photos come slowly: each is enrolled as it comes, and can be erased alone. Packing them is for gallery pack.
    await opened.client.enroll(galleryId, source, { signal, ...modelOf(encoder.card), onProgress, onStruck, packing: "never" });
  } catch (cause) {
    throw partly(cause, templates.length, `of ${photos.length} photos`);
  }
  return withTakenFaces(encoder, report(galleryId, templates, [...struck]));
}

async function* encodeAll(photos: readonly Photo[], encoder: PhotoEncoder, keyHolder: KeyHolder, signal: AbortSignal): AsyncGenerator<PhotoEnrollment, void, undefined> {
  using progress = showProgress("photos", photos.length);
  for (const [done, { subjectId, path }] of photos.entries()) {
    if (signal.aborted) throw new ClientError("CANCELLED", "the enrollment was cancelled");
    const { image, embedding } = await encoder.encode(path);
    yield { templateId: templateIdOf(keyHolder, subjectId, image), subjectId, path, embedding };
    progress.advance(done + 1);
  }
}

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of source) items.push(item);
  return items;
}

/** The same photo of the same person has the same id, so it is replaced rather than doubled; without the key the id tells nothing. */
function templateIdOf(keyHolder: KeyHolder, subjectId: string, image: Uint8Array): string {
  return keyHolder.pseudonym("photo", subjectId, image).slice(0, 16);
}

function report(galleryId: string, templates: readonly { templateId: string; subjectId: string }[], struck: readonly string[]): Outcome {
  const subjects = new Set(templates.map(({ subjectId }) => subjectId)).size;
  const text = `${templates.length} photo${templates.length === 1 ? "" : "s"} of ${subjects} subject${subjects === 1 ? "" : "s"} enrolled in ${galleryId}`;
  return { json: { galleryId, enrolled: templates.length, templates, struck }, text: [text, ...struckText(galleryId, struck)], yes: true };
}
