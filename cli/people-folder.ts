import type { Dirent } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { extname, join } from "node:path";
import { checkId, systemErrorText } from "@veilface/client/advanced";
import { CliError, isKnown } from "./errors.ts";

/** A photo of a subject, on disk. */
export interface Photo {
  readonly subjectId: string;
  readonly path: string;
}

/** Something in a folder of people, and what is said about it. */
export interface Remark {
  readonly path: string;
  readonly message: string;
}

/**
 * Something that should have been enrolled and was not, with a ClientError's reason and message, which names the
 * path.
 */
export interface Failure extends Remark {
  readonly reason: string;
}

/** A folder of people, looked through. */
export interface People {
  /** In the order of their paths. */
  readonly photos: readonly Photo[];
  /** What is no photo of anybody by its place or name. */
  readonly passedOver: readonly Remark[];
  /** Folders of people that cannot be used. */
  readonly failed: readonly Failure[];
}

/** People as they are being found. */
interface FoundPeople {
  readonly photos: Photo[];
  readonly passedOver: Remark[];
  readonly failed: Failure[];
}

/** As sharp reads them; HEIC with HEVC is refused later, with what to do. */
const PHOTO_ENDINGS: readonly string[] = [
  ".jpg",
  ".jpeg",
  ".jpe",
  ".jfif",
  ".png",
  ".webp",
  ".gif",
  ".tif",
  ".tiff",
  ".heic",
  ".heif",
  ".avif",
];

/** What storage boxes, archives and desktops leave behind, besides whatever starts with a dot. */
const LITTER: readonly string[] = [
  "@eadir",
  "#recycle",
  "#snapshot",
  "$recycle.bin",
  "system volume information",
  "lost+found",
  "__macosx",
  "thumbs.db",
  "ehthumbs.db",
  "desktop.ini",
  "icon\r",
];

/**
 * Looks through a folder of folders, one per subject and named by its id; links are followed. Litter is passed over
 * in silence, all else that is no photo of somebody with a word. Throws CliError USAGE where the folder cannot be
 * read, or nobody has a photo.
 */
export async function lookThrough(folder: string): Promise<People> {
  const people: FoundPeople = { photos: [], passedOver: [], failed: [] };
  const entries = await entriesOf(folder).catch((cause: unknown) => {
    throw unreadable(folder, cause);
  });
  for (const { path, name, isFolder } of entries) {
    if (!isFolder) people.passedOver.push({ path, message: "it is in no person's folder" });
    else await lookThroughPerson(path, name, people);
  }
  if (people.photos.length === 0) throw nobody(folder, people);
  return people;
}

function nobody(folder: string, { passedOver, failed }: Omit<People, "photos">): CliError {
  const found = [
    ...failed.map(({ message }) => message),
    ...passedOver.map(({ path, message }) => `${path}: ${message}`),
  ];
  const expected = "expected folders, one per person, named by the person's id, with photos in it";
  return new CliError("USAGE", [`${folder} has no photos: ${expected}`, ...found.slice(0, 3)].join("; "));
}

async function lookThroughPerson(
  folder: string,
  name: string,
  { photos, passedOver, failed }: FoundPeople,
): Promise<void> {
  try {
    const subjectId = checkFolderName(folder, name);
    const before = photos.length;
    for (const { path, isFolder } of await entriesOf(folder)) {
      if (isFolder) passedOver.push({ path, message: "a folder within a person's folder" });
      else if (isPhoto(path)) photos.push({ subjectId, path });
      else passedOver.push({ path, message: `no photo by its name: those end in ${PHOTO_ENDINGS.join(", ")}` });
    }
    if (photos.length === before) passedOver.push({ path: folder, message: "it has no photos" });
  } catch (cause) {
    const { reason, message } = isKnown(cause) ? cause : unreadable(folder, cause);
    failed.push({ path: folder, reason, message });
  }
}

function isPhoto(path: string): boolean {
  return PHOTO_ENDINGS.includes(extname(path).toLowerCase());
}

async function entriesOf(folder: string): Promise<{ path: string; name: string; isFolder: boolean }[]> {
  const entries = (await readdir(folder, { withFileTypes: true })).filter(({ name }) => !isLitter(name));
  const found = entries.map(async (entry) => {
    const path = join(folder, entry.name);
    return { path, name: entry.name, isFolder: await isFolderOrLink(entry, path) };
  });
  return (await Promise.all(found)).sort((a, b) => (a.name < b.name ? -1 : 1));
}

function isLitter(name: string): boolean {
  return name.startsWith(".") || LITTER.includes(name.toLowerCase());
}

async function isFolderOrLink(entry: Dirent, path: string): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  return stat(path).then(
    (target) => target.isDirectory(),
    () => false,
  );
}

function checkFolderName(folder: string, name: string): string {
  try {
    return checkId("subject", name);
  } catch (cause) {
    const plain = name.normalize("NFKD").toLowerCase().replaceAll(/\p{M}/gu, "");
    const suggestion = plain
      .replaceAll(/[^a-z0-9]+/g, "-")
      .slice(0, 64)
      .replaceAll(/^-|-$/g, "");
    const advice = suggestion === "" ? "rename it" : `rename it, for example to ${suggestion}`;
    const expected = `expected 1 to 64 characters of a-z, 0-9 and "-"; ${advice}`;
    throw new CliError("USAGE", `${folder}: its name cannot be a subject id: ${expected}`, { cause });
  }
}

function unreadable(folder: string, cause: unknown): CliError {
  return new CliError("USAGE", `${folder} cannot be read: ${systemErrorText(cause)}`, { cause });
}
