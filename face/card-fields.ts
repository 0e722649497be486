import { FaceError } from "./errors.ts";

type Json = Record<string, unknown>;

/** Both ends included. */
interface NumberRange {
  readonly least: number;
  readonly most: number;
}

/** Reads the fields of one JSON object of a model card, and refuses what it does not know. */
export class CardFields {
  readonly #fields: Json;
  readonly #path: string;

  /** `path`: where the object stands in the card, for messages; "" for the card itself. */
  constructor(value: unknown, path: string, known: readonly string[]) {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw invalid(path || "the card", "a JSON object");
    this.#fields = { ...value };
    this.#path = path;
    const unknown = Object.keys(value).find((name) => !known.includes(name));
    if (unknown !== undefined) throw invalid(this.#name(unknown), `no such field; the fields are ${known.join(", ")}`);
  }

  has(name: string): boolean {
    return this.#fields[name] !== undefined;
  }

  object(name: string, known: readonly string[]): CardFields {
    return new CardFields(this.#fields[name], this.#name(name), known);
  }

  objects(name: string, known: readonly string[]): CardFields[] {
    return this.#list(name, "a list of objects").map(
      (item, i) => new CardFields(item, `${this.#name(name)}[${i}]`, known),
    );
  }

  text(name: string, pattern: RegExp, expected: string): string {
    const value = this.#fields[name];
    if (typeof value !== "string" || !pattern.test(value)) throw invalid(this.#name(name), expected);
    return value;
  }

  oneOf<T extends string>(name: string, choices: readonly T[]): T {
    const choice = choices.find((item) => item === this.#fields[name]);
    if (choice === undefined)
      throw invalid(this.#name(name), `one of ${choices.map((item) => `"${item}"`).join(", ")}`);
    return choice;
  }

  number(name: string, least: number, most: number): number {
    return checkNumber(this.#fields[name], this.#name(name), { least, most });
  }

  integer(name: string, least: number, most: number): number {
    const value = this.#fields[name];
    if (!Number.isInteger(value)) throw invalid(this.#name(name), `a whole number from ${least} to ${most}`);
    return checkNumber(value, this.#name(name), { least, most });
  }

  /** `length`: how many numbers the list must have, or its smallest and largest length. */
  numbers(name: string, length: number | readonly [number, number], range: NumberRange): number[] {
    const [shortest, longest] = typeof length === "number" ? [length, length] : length;
    const count = shortest === longest ? String(shortest) : `${shortest} to ${longest}`;
    const values = this.#list(name, `a list of ${count} numbers`);
    if (values.length < shortest || values.length > longest) {
      throw invalid(this.#name(name), `a list of ${count} numbers, not ${values.length}`);
    }
    return values.map((value, i) => checkNumber(value, `${this.#name(name)}[${i}]`, range));
  }

  refuse(name: string, expected: string): FaceError {
    return invalid(this.#name(name), expected);
  }

  #list(name: string, expected: string): unknown[] {
    const value = this.#fields[name];
    if (!Array.isArray(value)) throw invalid(this.#name(name), expected);
    return value;
  }

  #name(name: string): string {
    return this.#path === "" ? name : `${this.#path}.${name}`;
  }
}

function checkNumber(value: unknown, name: string, { least, most }: NumberRange): number {
  if (typeof value === "number" && value >= least && value <= most) return value;
  throw invalid(name, `a number from ${least} to ${most}`);
}

function invalid(name: string, expected: string): FaceError {
  return new FaceError("MODEL_PACK_INVALID", `model card: ${name}: expected ${expected}`);
}
