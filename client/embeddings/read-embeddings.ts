import type { FileHandle } from "node:fs/promises";
import { extname } from "node:path";
import type { Enrollment } from "../enroll/unit-maker.ts";
import { ClientError } from "../errors.ts";
import { openInput, systemErrorText } from "../input-file.ts";
import { CsvReader } from "./csv.ts";
import { checkFileId, fileError, rowId } from "./file-error.ts";
import { readJsonLine } from "./jsonl.ts";
import { readLines } from "./lines.ts";
import type { NamedFile } from "./file-error.ts";
import type { Line } from "./lines.ts";
import { openNpy, readNpyRows } from "./npy.ts";

/** What is expected of a file of embeddings. */
export interface ReadEmbeddingsOptions {
  /** Components that every embedding must have, in [1, 2048]; those of the first one unless given. */
  readonly dimension?: number;
  /**
   * For .npy: a file with a line "subjectId" or "templateId,subjectId" for every row. Rows are numbered unless given.
   */
  readonly ids?: string;
  /** Called now and then with the fraction that was read, in [0, 1]. */
  readonly onRead?: (fraction: number) => void;
}

/**
 * Reads embeddings that were made elsewhere, ready to enroll, from a file of any size in little memory; the format goes
 * by its ending:
 *
 * .npy an array of two dimensions, float16, float32 or float64 (NumPy's format, versions 1 to 3). Rows are named
 * "row-0000001"
 *           and so on, as templates and as subjects, unless `ids` names them
 *   .csv    id[,subject],component,… with or without a header (CsvReader says what it understands)
 *   .jsonl  {"templateId"?, "subjectId"?, "embedding": […]} a line
 *
 * Throws ClientError EMBEDDINGS_FILE_INVALID, naming the line or row, for a file that is not so: a wrong or changing
 * number of components, a number that is not finite, a malformed id, a file that is cut short, one without embeddings.
 * USAGE for one that cannot be read.
 */
export async function* readEmbeddings(
  path: string,
  options: ReadEmbeddingsOptions = {},
): AsyncGenerator<Enrollment, void, undefined> {
  const ending = extname(path).toLowerCase();
  if (![".npy", ".csv", ".jsonl"].includes(ending)) {
    const message = `${path} does not end in .npy, .csv or .jsonl: name it so if it is such a file, or save it as one`;
    throw new ClientError("USAGE", message);
  }
  if (options.ids !== undefined && ending !== ".npy")
    throw new ClientError("USAGE", `${path} names its templates itself: a file of ids goes with .npy only`);
  await using file = await openToRead(path);
  const named = { file, path };
  let rows = 0;
  for await (const row of ending === ".npy" ? readNpy(named, options) : readText(named, ending, options)) {
    rows++;
    yield row;
  }
  if (rows === 0) throw fileError(path, "it has no embeddings");
}

async function* readNpy(
  file: NamedFile,
  { ids, dimension, onRead }: ReadEmbeddingsOptions,
): AsyncGenerator<Enrollment, void, undefined> {
  const header = await openNpy(file);
  if (dimension !== undefined && header.dimension !== dimension)
    throw fileError(file.path, `its rows have ${header.dimension} components: expected ${dimension}`);
  await using names = ids === undefined ? undefined : await RowNames.open(ids);
  let row = 0;
  for await (const embedding of readNpyRows(file, header)) {
    row++;
    yield {
      ...((await names?.next(row, header.rows)) ?? { templateId: rowId(row), subjectId: rowId(row) }),
      embedding,
    };
    onRead?.(row / header.rows);
  }
  await names?.end(header.rows);
}

async function* readText(
  { file, path }: NamedFile,
  ending: string,
  { dimension, onRead }: ReadEmbeddingsOptions,
): AsyncGenerator<Enrollment, void, undefined> {
  const { size } = await file.stat();
  const csv = new CsvReader(path, dimension);
  let expected = dimension;
  for await (const line of readLines({ file, path }, (bytes) => onRead?.(Math.min(1, bytes / size)))) {
    const enrollment = ending === ".csv" ? csv.read(line) : readJsonLine(path, line, expected);
    if (enrollment === undefined) continue;
    expected ??= enrollment.embedding.length;
    yield enrollment;
  }
}

/** The names of a .npy file's rows, a line each. */
class RowNames implements AsyncDisposable {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #lines: AsyncGenerator<Line, void, undefined>;

  static async open(path: string): Promise<RowNames> {
    return new RowNames(path, await openToRead(path));
  }

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
    this.#lines = readLines({ file, path });
  }

  async next(row: number, rows: number): Promise<{ templateId: string; subjectId: string }> {
    const { value: line } = await this.#lines.next();
    if (line === undefined)
      throw fileError(this.#path, `it has ${row - 1} lines: expected one for each of ${rows} rows`);
    const at = { path: this.#path, number: line.number };
    const [first = "", second, ...more] = line.text.split(",").map((field) => field.trim());
    if (more.length > 0)
      throw fileError(
        at.path,
        `line ${at.number} has ${2 + more.length} fields: expected subjectId, or templateId,subjectId`,
      );
    if (second === undefined) return { templateId: rowId(row), subjectId: checkFileId(at, "subject", first) };
    const subjectId = checkFileId(at, "subject", second);
    return { templateId: checkFileId(at, "template", first), subjectId };
  }

  async end(rows: number): Promise<void> {
    const { value: line } = await this.#lines.next();
    if (line !== undefined)
      throw fileError(this.#path, `line ${line.number} is one too many: expected one for each of ${rows} rows`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

async function openToRead(path: string): Promise<FileHandle> {
  try {
    return await openInput(path);
  } catch (cause) {
    throw new ClientError("USAGE", `${path} cannot be read: ${systemErrorText(cause)}`, { cause });
  }
}
