import { fileError } from "./file-error.ts";

/** Where the first line is that is not blank. */
export interface FirstLine {
  readonly path: string;
  readonly number: number;
}

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
const TEMPLATE_NAMES = ["id", "template", "templateid", "template_id"];
const SUBJECT_NAMES = ["subject", "subjectid", "subject_id"];
// pandas leaves the name of its index empty, and calls a column without one by the second name when it reads it back.
const INDEX_NAMES = ["", "unnamed: 0", "index"];
// Whole numbers in a row from 0 or 1 on are names rather than an embedding, from so many on whatever is before them.
const CERTAINLY_NAMES = 8;

/** Whether a field holds a list of components, "[0.1, 0.2]", as pgvector and pandas write them. */
export function isList(field: string): boolean {
  return /^\s*\[.*\]\s*$/s.test(field);
}

/**
 * Reads the columns from the first line, and says whether it is a header. It is one where a field that must be a
 * component is a word, or where the components are 0, 1, 2, … or 1, 2, 3, … after nothing but known names: what
 * pandas calls columns without names. `dimension`: where it is known. Throws ClientError EMBEDDINGS_FILE_INVALID for
 * names that are not understood.
 */
export function readColumns(
  at: FirstLine,
  fields: readonly string[],
  dimension?: number,
): { columns: Columns; header: boolean } {
  const names = fields.map((field) => field.trim().toLowerCase());
  const header = isHeader(names);
  return { columns: header ? namedColumns(at, names) : guessedColumns(names, dimension), header };
}

function isHeader(names: readonly string[]): boolean {
  if (names.slice(2).some(isWord) || isWord(names.at(-1)!)) return true;
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
  return numberedName(names[0]!)?.word === "" && isNumbered(names);
}

function numberedName(name: string): { word: string; number: number } | undefined {
  const { word, digits } = /^(?<word>.*?)(?<digits>\d+)(?:\.0)?$/.exec(name)?.groups ?? {};
  return word === undefined ? undefined : { word, number: Number(digits) };
}

function namedColumns(at: FirstLine, names: readonly string[]): Columns {
  const template = onlyPlace(at, names, TEMPLATE_NAMES);
  const subject = onlyPlace(at, names, SUBJECT_NAMES);
  const index = INDEX_NAMES.includes(names[0]!) && names.length > 1 ? 0 : undefined;
  const ids = [template, subject, index].filter((place) => place !== undefined);
  const components = names.map((_, place) => place).filter((place) => !ids.includes(place));
  checkComponents(at, components, names);
  return {
    template: template ?? index,
    subject,
    first: components[0]!,
    count: components.length,
    width: names.length,
  };
}

function onlyPlace(at: FirstLine, names: readonly string[], known: readonly string[]): number | undefined {
  const [place, second] = names.flatMap((name, at) => (known.includes(name) ? [at] : []));
  if (second !== undefined)
    throw refused(at, `names columns ${place! + 1} and ${second + 1} alike: expected one ${known[0]!}`);
  return place;
}

function checkComponents(at: FirstLine, places: readonly number[], names: readonly string[]): void {
  const components = places.map((place) => names[place]!);
  if (components.length === 0) throw refused(at, "has no components: expected id,subject,component,…");
  const numbered = isNumbered(components);
  const noIds = components.length === names.length;
  if (!numbered && (noIds || components.some((name) => numberedName(name) !== undefined)))
    throw notUnderstood(at, names);
  if (places.at(-1)! - places[0]! !== places.length - 1)
    throw refused(at, "has components that do not lie side by side: put the ids first");
}

function notUnderstood(at: FirstLine, fields: readonly string[]): Error {
  const stranger = fields.findIndex((name) => !isIdName(name) && numberedName(name) === undefined);
  const otherwise = /[;\t ]/.exec(fields[0]!) === null ? "" : "; it seems to be separated by something else";
  const column = Math.max(0, stranger) + 1;
  const names = "as names id, subject and e0,e1,…";
  const expected = `id,subject,component,… separated by commas, with numbers such as 0.25, or ${names}${otherwise}`;
  const what = `neither is a row of numbers nor a header that is understood, see its column ${column}`;
  return refused(at, `${what}: expected ${expected}`);
}

function refused({ path, number }: FirstLine, what: string): Error {
  return fileError(path, `line ${number} ${what}`);
}

function guessedColumns(fields: readonly string[], dimension: number | undefined): Columns {
  const width = fields.length;
  // A comma too many at the end of lines is no subject: the second field is then a component, not to be shown as an
  // id.
  const subject = width > 2 && ((width - 2 === dimension && fields.at(-1) !== "") || isWord(fields[1]!));
  const first = 1 + Number(subject);
  return { template: 0, subject: subject ? 1 : undefined, first, count: width - first, width };
}
