import type { Enrollment } from "../enrollment-units.ts";
import { checkFileId, fileError } from "./file-error.ts";
import type { Line } from "./lines.ts";

/** What the columns of a CSV file are. */
interface Columns {
  readonly subject: boolean;
  readonly dimension: number;
}

const NUMBER = /^[ \t]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ \t]*$/;
// Read far faster than NUMBER: with none but these characters, Number() takes what NUMBER takes, and blanks.
const NUMBERS = /^[\d+\-.eE, \t]*$/;
const TEMPLATE_NAMES = ["id", "template", "templateid", "template_id"];
const SUBJECT_NAMES = ["subject", "subjectid", "subject_id"];

/**
 * Reads lines of id[,subject],component,…; without a subject the id names it too. A first line whose last field is no number is a
 * header: its first column must be named id or template, and its second may be subject. Without one, the second column is the subject
 * where it is no number, or where `dimension` leaves no other reading. Throws ClientError EMBEDDINGS_FILE_INVALID, naming the line.
 */
export class CsvReader {
  readonly #path: string;
  readonly #dimension: number | undefined;
  #columns: Columns | undefined;

  /** `dimension`: components that every embedding must have; those of the first line unless given. */
  constructor(path: string, dimension: number | undefined) {
    this.#path = path;
    this.#dimension = dimension;
  }

  /** The enrollment of a line; undefined for a header. */
  read({ number, text }: Line): Enrollment | undefined {
    const fields = text.split(",").map(unquoted);
    if (this.#columns === undefined) {
      const named = !NUMBER.test(fields.at(-1)!);
      this.#columns = this.#checked(number, named ? this.#readHeader(number, fields) : guessColumns(fields, this.#dimension));
      if (named) return undefined;
    }
    const { subject, dimension } = this.#columns;
    const first = 1 + Number(subject);
    if (fields.length !== first + dimension) throw this.#error(number, `has ${fields.length - first} components: expected ${dimension}`);
    const templateId = checkFileId(this.#path, `line ${number}`, "template", fields[0]!.trim());
    const subjectId = subject ? checkFileId(this.#path, `line ${number}`, "subject", fields[1]!.trim()) : templateId;
    return { templateId, subjectId, embedding: this.#numbers(number, fields, first) };
  }

  #numbers(number: number, fields: readonly string[], first: number): Float64Array {
    const embedding = new Float64Array(fields.length - first);
    for (let k = 0; k < embedding.length; k++) {
      const field = fields[first + k]!;
      const value = Number(field);
      if (!Number.isFinite(value) || !NUMBERS.test(field) || field.trim() === "") throw this.#error(number, `component ${k + 1} is not a finite number: expected digits with a point, separated by commas`);
      embedding[k] = value;
    }
    return embedding;
  }

  #readHeader(number: number, names: readonly string[]): Columns {
    const [first, second] = names.map((name) => name.trim().toLowerCase());
    if (first === undefined || !TEMPLATE_NAMES.includes(first)) {
      throw this.#error(number, "neither ends with a number nor is a header: expected id,subject,component,… separated by commas, or such a line of names");
    }
    const subject = second !== undefined && SUBJECT_NAMES.includes(second);
    return { subject, dimension: names.length - 1 - Number(subject) };
  }

  #checked(number: number, columns: Columns): Columns {
    if (this.#dimension !== undefined && columns.dimension !== this.#dimension) throw this.#error(number, `has ${columns.dimension} components: expected ${this.#dimension}`);
    if (columns.dimension < 1) throw this.#error(number, "has no components: expected id,subject,component,…");
    return columns;
  }

  #error(number: number, what: string): Error {
    return fileError(this.#path, `line ${number} ${what}`);
  }
}

function guessColumns(fields: readonly string[], dimension: number | undefined): Columns {
  const subject = dimension === undefined ? fields.length > 2 && !NUMBER.test(fields[1]!) : fields.length === dimension + 2 || !NUMBER.test(fields[1] ?? "");
  return { subject, dimension: fields.length - 1 - Number(subject) };
}

function unquoted(field: string): string {
  return field.startsWith('"') && field.endsWith('"') && field.length > 1 ? field.slice(1, -1) : field;
}
