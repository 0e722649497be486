import { fileError } from "./file-error.ts";
import type { FilePlace } from "./file-error.ts";

type KnownNames = readonly [string, ...string[]];

/** What the columns of a CSV file are; places count from 0. */
export interface Columns {
  /** Where the template's id is; undefined where rows are numbered. */
  readonly template: number | undefined;
  /** Where the subject's id is; undefined where the template's id names it too. */
  readonly subject: number | undefined;
  /** Where the components start, which lie side by side. */
  readonly first: number;
  /** How many columns of components, >= 1; one that may hold a whole list "[0.1, 0.2]". */
  readonly count: number;
  /** Fields of every line. */
  readonly width: number;
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
// What writers put where a number is missing: such a line holds data, and is refused as data.
const MISSING = /^(|[+-]?(nan|inf|infinity)|na|n\/a|null|none)$/i;
const TEMPLATE_NAMES: KnownNames = ["id", "template", "templateid", "template_id"];
const SUBJECT_NAMES: KnownNames = ["subject", "subjectid", "subject_id"];
// pandas leaves the name of its index empty, and calls a column without one by the second name when it reads it back.
const INDEX_NAMES = ["", "unnamed: 0", "index"];
// Whole numbers in a row from 0 or 1 on are names rather than an embedding, from so many on whatever is before them.
const CERTAINLY_NAMES = 8;

/** Whether a field holds a list of components, "[0.1, 0.2]", as pgvector and pandas write them. */
export function isList(field: string): boolean {
  return /^\s*\[.*\]\s*$/s.test(field);
}

/**
 * Reads the columns from the first line that is not blank, and says whether it is a header. It is one where a field
 * that must be a component is a word, or where the components are 0, 1, 2, … or 1, 2, 3, … after nothing but known
 * names: what pandas calls columns without names. `dimension`: where it is known. Throws ClientError
 * EMBEDDINGS_FILE_INVALID for names that are not understood.
 */
export function readColumns(
  at: FilePlace,
  fields: readonly string[],
  dimension?: number,
): { columns: Columns; header: boolean } {
  const names = fields.map((field) => field.trim().toLowerCase());
  const header = isHeader(names);
  return { columns: header ? namedColumns(at, names) : guessedColumns(names, dimension), header };
}

function isHeader(names: readonly string[]): boolean {
  // The last one must be a component, and all from the third on.
  if (names.slice(Math.min(2, names.length - 1)).some(isWord)) return true;
  const leading = leadingNames(names);
  const least = leading > 0 ? 1 : CERTAINLY_NAMES;
  return [leading, 1, 2].some((first) => names.length - first >= least && isSequence(names.slice(first)));
}

function leadingNames(names: readonly string[]): number {
  const end = names.findIndex((name) => !isIdName(name));
  return end < 0 ? names.length : end;
}

function isIdName(name: string): boolean {
  return [TEMPLATE_NAMES, SUBJECT_NAMES, INDEX_NAMES].some((known) => known.includes(name));
}

function isWord(name: string): boolean {
  return !NUMBER.test(name) && !MISSING.test(name) && !isList(name);
}

/** Whether names are one word with consecutive numbers after it, from 0 or 1 on: e0, e1, … or 0.0, 1.0, … */
function isNumbered(names: readonly string[]): boolean {
  const [start] = names.map(numberedName);
  return (
    start !== undefined &&
    (start.number === 0 || start.number === 1) &&
    names.every((name, k) => {
      const { word, number } = numberedName(name) ?? {};
      return word === start.word && number === start.number + k;
    })
  );
}

function isSequence(names: readonly string[]): boolean {
  const [first = ""] = names;
  return numberedName(first)?.word === "" && isNumbered(names);
}

function numberedName(name: string): { word: string; number: number } | undefined {
  const { word, digits } = /^(?<word>.*?)(?<digits>\d+)(?:\.0)?$/.exec(name)?.groups ?? {};
  return word === undefined ? undefined : { word, number: Number(digits) };
}

function namedColumns(at: FilePlace, names: readonly string[]): Columns {
  const template = onlyPlace(at, names, TEMPLATE_NAMES);
  const subject = onlyPlace(at, names, SUBJECT_NAMES);
  const [leading = ""] = names;
  const index = INDEX_NAMES.includes(leading) && names.length > 1 ? 0 : undefined;
  const ids = [template, subject, index].filter((place) => place !== undefined);
  const components = names.map((name, place) => ({ name, place })).filter(({ place }) => !ids.includes(place));
  const [first] = components;
  if (first === undefined) throw refused(at, "has no components: expected id,subject,component,…");
  checkUnderstood(
    at,
    components.map(({ name }) => name),
    names,
  );
  if (components.some(({ place }, k) => place !== first.place + k))
    throw refused(at, "has components that do not lie side by side: put the ids first");
  return {
    template: template ?? index,
    subject,
    first: first.place,
    count: components.length,
    width: names.length,
  };
}

function onlyPlace(at: FilePlace, names: readonly string[], known: KnownNames): number | undefined {
  const places = names.flatMap((name, place) => (known.includes(name) ? [place] : []));
  if (places.length > 1) {
    const columns = places.slice(0, 2).map((place) => place + 1);
    throw refused(at, `names columns ${columns.join(" and ")} alike: expected one ${known[0]}`);
  }
  return places[0];
}

function checkUnderstood(at: FilePlace, components: readonly string[], names: readonly string[]): void {
  const numbered = isNumbered(components);
  const noIds = components.length === names.length;
  if (!numbered && (noIds || components.some((name) => numberedName(name) !== undefined)))
    throw notUnderstood(at, names);
}

function notUnderstood(at: FilePlace, fields: readonly string[]): Error {
  const stranger = fields.findIndex((name) => !isIdName(name) && numberedName(name) === undefined);
  const [first = ""] = fields;
  const otherwise = /[;\t ]/.exec(first) === null ? "" : "; it seems to be separated by something else";
  const column = Math.max(0, stranger) + 1;
  const names = "as names id, subject and e0,e1,…";
  const expected = `id,subject,component,… separated by commas, with numbers such as 0.25, or ${names}${otherwise}`;
  const what = `neither is a row of numbers nor a header that is understood, see its column ${column}`;
  return refused(at, `${what}: expected ${expected}`);
}

function refused({ path, number }: FilePlace, what: string): Error {
  return fileError(path, `line ${number} ${what}`);
}

function guessedColumns(fields: readonly string[], dimension: number | undefined): Columns {
  const width = fields.length;
  const [, second = ""] = fields;
  // A comma too many at the end of lines is no subject: the second field is then a component, not to be shown as an
  // id.
  const subject = width > 2 && ((width - 2 === dimension && fields.at(-1) !== "") || isWord(second));
  const first = 1 + Number(subject);
  return { template: 0, subject: subject ? 1 : undefined, first, count: width - first, width };
}
