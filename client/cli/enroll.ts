import type { Command } from "commander";
import type { Enrollment } from "../enrollment.ts";
import { ClientError } from "../errors.ts";
import { checkId } from "../ids.ts";
import type { KeyHolder } from "../key-holder.ts";
import { addJson, addKey, addModel, addServer, openClient } from "./options.ts";
import type { KeyFlags, ModelFlags, ServerFlags } from "./options.ts";
import type { Cli, Outcome } from "./outcome.ts";
import { openPhotoEncoder, photosOfPeople } from "./photos.ts";
import type { Photo, PhotoEncoder } from "./photos.ts";
import { showProgress } from "./progress.ts";

interface EnrollFlags extends KeyFlags, ServerFlags, ModelFlags {
  dir?: string;
}

/** A photo on its way, or enrolled. */
interface PhotoEnrollment extends Enrollment, Photo {}

// Up to here every photo is looked at before any is enrolled, so that one bad photo leaves nothing half done: a minute's work.
const FEW_PHOTOS = 200;

export function addEnroll(program: Command, cli: Cli): void {
  const command = program
    .command("enroll")
    .argument("<gallery>")
    .argument("[subject]", "the person's id: 1 to 64 of a-z, 0-9 and -")
    .argument("[images...]", "photos that show one face each")
    .description("Encrypt faces and enroll them. Enrolling a photo again replaces it, so a broken run is simply run again.")
    .option("--dir <people>", "a folder with a folder of photos per person, named by the person's id")
    .addHelpText("after", "\nExamples:\n  veilface enroll staff ada ada-1.jpg ada-2.jpg\n  veilface enroll staff --dir people/")
    .action(async (galleryId: string, subjectId: string | undefined, images: string[], flags: EnrollFlags) => {
      cli.finish(await enroll(galleryId, await choosePhotos(subjectId, images, flags.dir), flags, cli.signal));
    });
  addJson(addModel(addServer(addKey(command))));
}

async function choosePhotos(subjectId: string | undefined, images: readonly string[], dir: string | undefined): Promise<Photo[]> {
  if (dir !== undefined) {
    if (subjectId !== undefined) throw new ClientError("USAGE", "--dir takes subjects from its folders: give either --dir or a subject with images");
    return photosOfPeople(dir);
  }
  if (subjectId === undefined || images.length === 0) throw new ClientError("USAGE", "nothing to enroll: give a subject with its images, or --dir");
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
  try {
    await opened.client.enroll(galleryId, source, { signal, modelId: encoder.card.id, onProgress });
  } catch (cause) {
    throw templates.length > 0 ? partly(cause, templates.length, photos.length) : cause;
  }
  return report(galleryId, templates);
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

function partly(cause: unknown, enrolled: number, total: number): unknown {
  if (!(cause instanceof ClientError)) return cause;
  const message = `${cause.message} (${enrolled} of ${total} photos are enrolled; run it again once this is settled, none is doubled)`;
  const { serverReason } = cause;
  return new ClientError(cause.reason, message, { cause, ...(serverReason !== undefined && { serverReason }) });
}

function report(galleryId: string, templates: readonly { templateId: string; subjectId: string }[]): Outcome {
  const subjects = new Set(templates.map(({ subjectId }) => subjectId)).size;
  const text = `${templates.length} photo${templates.length === 1 ? "" : "s"} of ${subjects} subject${subjects === 1 ? "" : "s"} enrolled in ${galleryId}`;
  return { json: { galleryId, enrolled: templates.length, templates }, text: [text], yes: true };
}
