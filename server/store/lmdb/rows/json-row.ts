import { storedCorrupt } from "../../../errors.ts";

/**
 * A JSON object of a row, whose members are read as what they must be. Where one is not, and where the bytes are no
 * such object, that is ServerError STORED_CORRUPT of `what` is stored.
 */
export class JsonRow {
  readonly #members: ReadonlyMap<string, unknown>;
  readonly #what: string;

  private constructor(value: unknown, what: string) {
    if (typeof value !== "object" || value === null) throw storedCorrupt(what);
    this.#members = new Map(Object.entries(value));
    this.#what = what;
  }

  /** Throws ServerError STORED_CORRUPT. */
  static parse(bytes: Buffer, what: string): JsonRow {
    let value: unknown;
    try {
      value = JSON.parse(bytes.toString());
    } catch {
      throw storedCorrupt(what);
    }
    return new JsonRow(value, what);
  }

  has(name: string): boolean {
    return this.#members.get(name) !== undefined;
  }

  text(name: string): string {
    const value = this.#members.get(name);
    return typeof value === "string" ? value : this.#damaged();
  }

  /** A text that is one of these. */
  choice<T extends string>(name: string, choices: readonly T[]): T {
    const text = this.text(name);
    return choices.find((choice) => choice === text) ?? this.#damaged();
  }

  number(name: string): number {
    return this.#number(this.#members.get(name));
  }

  numbers(name: string): number[] {
    const value = this.#members.get(name);
    return Array.isArray(value) ? value.map((one) => this.#number(one)) : this.#damaged();
  }

  time(name: string): Date {
    const time = new Date(this.text(name));
    return Number.isNaN(time.getTime()) ? this.#damaged() : time;
  }

  /** An object within this one. */
  row(name: string): JsonRow {
    return new JsonRow(this.#members.get(name), this.#what);
  }

  /** The names of its members. */
  names(): string[] {
    return [...this.#members.keys()];
  }

  #number(value: unknown): number {
    return typeof value === "number" ? value : this.#damaged();
  }

  #damaged(): never {
    throw storedCorrupt(this.#what);
  }
}
