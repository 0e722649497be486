import type { Enrollment } from "../enroll/unit-maker.ts";
import { isList, readColumns } from "./csv-columns.ts";
import type { Columns } from "./csv-columns.ts";
import { splitCsvLine } from "./csv-fields.ts";
import { checkFileId, fileError, rowId } from "./file-error.ts";
import type { Line } from "./lines.ts";

// With none but these characters, Number() takes digits with a point and an exponent, and blanks; nothing like 0x1.
const NUMBERS = /^[\d+\-.eE \t]*$/;

/**
 * Reads lines of id[,subject],component,…; without a subject the id names it too. A first line that is a header (see
 * readColumns) names its columns, in any order: id or template, subject, and the components; where it names no id, an
 * unnamed first column (pandas' index) is the id, and without that the rows are numbered. Without a header, the
 * second column is the subject where it is no number, or where `dimension` leaves no other reading. Throws
 * ClientError EMBEDDINGS_FILE_INVALID, naming the line.
 */
export class CsvReader {
  readonly #path: string;
  #dimension: number | undefined;
  #columns: Columns | undefined;
  #rows = 0;

  /** `dimension`: components that every embedding must have; those of the first line unless given. */
  constructor(path: string, dimension: number | undefined) {
    this.#path = path;
    this.#dimension = dimension;
  }

  /** The enrollment of a line; undefined for a header. */
  read(line: Line): Enrollment | undefined {
    const fields = splitCsvLine(this.#path, line);
    if (this.#columns === undefined) {
      const { columns, header } = readColumns({ path: this.#path, number: line.number }, fields, this.#dimension);
      this.#columns = this.#checked(line.number, columns);
      if (header) return undefined;
    }
    this.#rows++;
    return this.#row(line.number, fields, this.#columns);
  }

  #row(number: number, fields: readonly string[], { template, subject, first, count, width }: Columns): Enrollment {
    if (fields.length !== width)
      throw this.#error(number, `has ${fields.length - width + count} components: expected ${count}`);
    const templateId = this.#id(number, "template", fieldAt(fields, template)) ?? rowId(this.#rows);
    const subjectId = this.#id(number, "subject", fieldAt(fields, subject)) ?? templateId;
    const components = fields.slice(first, first + count);
    const [only = ""] = components;
    const list = count === 1 && isList(only) ? only.trim().slice(1, -1).split(",") : undefined;
    return { templateId, subjectId, embedding: this.#numbers(number, list ?? components) };
  }

  #id(number: number, kind: "template" | "subject", field: string | undefined): string | undefined {
    return field === undefined ? undefined : checkFileId({ path: this.#path, number }, kind, field.trim());
  }

  #numbers(number: number, fields: readonly string[]): Float64Array {
    this.#dimension ??= fields.length;
    if (fields.length !== this.#dimension)
      throw this.#error(number, `has ${fields.length} components: expected ${this.#dimension}`);
    const embedding = new Float64Array(fields.length);
    fields.forEach((field, k) => {
      const value = Number(field);
      if (!Number.isFinite(value) || !NUMBERS.test(field) || field.trim() === "")
        throw this.#notANumber(number, k, field);
      embedding[k] = value;
    });
    return embedding;
  }

  #notANumber(number: number, k: number, field: string): Error {
    const what = field.trim() === "" ? "is empty" : "is not a finite number";
    return this.#error(
      number,
      `component ${k + 1} ${what}: expected digits with a point, such as -0.25, separated by commas`,
    );
  }

  #checked(number: number, columns: Columns): Columns {
    const { count } = columns;
    if (count < 1) throw this.#error(number, "has no components: expected id,subject,component,… separated by commas");
    if (count > 1 && this.#dimension !== undefined && count !== this.#dimension)
      throw this.#error(number, `has ${count} components: expected ${this.#dimension}`);
    return columns;
  }

  #error(number: number, what: string): Error {
    return fileError(this.#path, `line ${number} ${what}`);
  }
}

function fieldAt(fields: readonly string[], place: number | undefined): string | undefined {
  return place === undefined ? undefined : fields[place];
}
