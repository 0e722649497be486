import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, test } from "node:test";
import ts from "typescript";
import { dialectProblems, publicProblems } from "../../../scripts/docstrings/problems.ts";

const folder = mkdtempSync(join(tmpdir(), "veilface-docstrings-"));
after(() => {
  rmSync(folder, { recursive: true });
});

const OPTIONS: ts.CompilerOptions = {
  module: ts.ModuleKind.NodeNext,
  target: ts.ScriptTarget.ES2024,
  strict: true,
  types: [],
  noEmit: true,
  allowImportingTsExtensions: true,
};

// Compiling takes a second, so all that is tried is compiled once.
const ENTRIES: Readonly<Record<string, string>> = {
  "bare.ts": `
    export function bare(): void {}
    export const COUNT = 1;
    export type Way = "in" | "out";
    /** A place in the plane. */
    export interface Place { x: number; go(way: Way): void }
    /** What holds places. */
    export class Holder {
      place = 1;
      constructor(of: number) { this.place = of; }
      get size(): number { return 1; }
      static make(): Holder { return new Holder(1); }
      #hidden = 1;
      private alsoHidden(): number { return this.#hidden; }
    }
    /** Limits that something has. */
    export type Limits = { readonly most: number } | { readonly inner: { readonly least: number } };
    // Not one of these.
    export enum Side { Left }`,
  "whole.ts": `
    /** A place in the plane, in pixels. */
    export interface Place {
      /** To the right. */
      readonly x: number;
    }
    /** Reads a place from text. Throws Error where it is none. */
    export function read(text: string): Place;
    export function read(text: number): Place;
    export function read(text: string | number): Place { const local: Place = { x: Number(text) }; return local; }
    /** What goes from place to place, under {@link read}. */
    export class Walker<T extends Place> {
      /** Steps that were taken, >= 0. */
      get steps(): number { return 0; }
      set steps(to: number) {}
      readonly #at: Map<T, Unseen> = new Map();
      private constructor() { void this.#at; }
    }
    interface Unseen { readonly y: number }`,
  "echoes.ts": `
    /** The place. */
    export const PLACE = 1;
    /** All the places of this. */
    export const places = 1;
    /** The place of the winner, from 1 on. */
    export const placeOfWinner = 1;`,
  "mentions.ts": `
    import type { Secret } from "./elsewhere.ts";
    export type { Shown as Renamed } from "./elsewhere.ts";
    import type { Shown } from "./elsewhere.ts";
    interface Base { readonly z: number }
    /** Takes secrets, gives what is shown. */
    export function take(secrets: readonly Secret[]): Promise<Shown> { throw new Error(String(secrets)); }
    /** Has more than is to be seen. */
    export interface Derived extends Base {
      /** When it was. */
      readonly at: Date;
    }`,
  "elsewhere.ts": `
    /** Not exported by the entry. */
    export interface Secret { readonly key: string }
    /** Exported by the entry, under another name. */
    export interface Shown { readonly lock: string }`,
  "dialect.ts": `
    /** Fine, with {@link COUNT} and the package \`@scope/name\`. */
    const COUNT = 1;
    /**
     * Fine, on two lines:
     *
     * - as a list.
     */
    const LIST = [COUNT];
    /** log2 of the count. */
    const BITS = LIST;
    /** Adds.
     * @param a the one
     */
    function add(a: number): number { return a; }
    /** Leads {@link nowhere}. */
    const LINK = add(1);
    /** gives what is left. */
    const LEFT = LINK;
    /** What is right */
    const RIGHT = LEFT;
    /** In a frame of
     * its own.
     */
    const FRAME = [RIGHT, BITS];
    /** */
    export { FRAME };`,
};
for (const [name, text] of Object.entries(ENTRIES)) writeFileSync(join(folder, name), text);
writeFileSync(join(folder, "package.json"), '{"type":"module"}');

const program = ts.createProgram(
  Object.keys(ENTRIES).map((name) => join(folder, name)),
  OPTIONS,
);

/** Problems without the file and line at their head. */
function bare(problems: readonly string[]): string[] {
  return problems.map((problem) => problem.replace(/^\S+: /, ""));
}

function problemsOf(name: string): string[] {
  return bare(publicProblems(program, [join(folder, name)]));
}

test("the fixtures are sound but for their docstrings", () => {
  assert.deepEqual(
    ts.getPreEmitDiagnostics(program).map(({ messageText }) => messageText),
    [],
  );
});

test("every exported name and public member without a docstring is named, and nothing that is private", () => {
  const expected = [
    "bare",
    "COUNT",
    "Way",
    "Place.x",
    "Place.go",
    "Holder.place",
    "Holder.constructor",
    "Holder.size",
    "Holder.make",
    "Limits.most",
    "Limits.inner",
    "Limits.inner.least",
    "Side",
    "Side.Left",
  ];
  assert.deepEqual(problemsOf("bare.ts").sort(), expected.map((name) => `${name} has no docstring`).sort());
});

test("a problem is told with its file and line", () => {
  const [first] = publicProblems(program, [join(folder, "bare.ts")]);
  assert.equal(basename(first?.split(": ")[0] ?? ""), "bare.ts:2");
});

test("one docstring is enough for overloads and for both halves of an accessor", () => {
  assert.deepEqual(problemsOf("whole.ts"), []);
});

test("a docstring that only repeats the name is none", () => {
  assert.deepEqual(problemsOf("echoes.ts"), [
    "the docstring of PLACE only repeats the name",
    "the docstring of places only repeats the name",
  ]);
});

test("a type that a public signature mentions has to be exported, under whatever name", () => {
  const mentions = problemsOf("mentions.ts").filter((problem) => problem.includes("mentions"));
  assert.deepEqual(mentions, [
    "a public name mentions Secret, which no entry exports",
    "a public name mentions Base, which no entry exports",
  ]);
});

test("another entry of the package may export it", () => {
  const problems = publicProblems(program, [join(folder, "mentions.ts"), join(folder, "elsewhere.ts")]);
  assert.deepEqual(
    bare(problems).filter((problem) => problem.includes("Secret,")),
    [],
  );
});

test("the dialect is sentences between signs, with links that lead somewhere and no other tags", () => {
  const file = program.getSourceFile(join(folder, "dialect.ts"));
  assert.ok(file);
  assert.deepEqual(bare(dialectProblems(program.getTypeChecker(), file)), [
    "the docstring has the tag @param: say it in a sentence",
    "the docstring has {@link nowhere}, which links to nothing",
    "the docstring does not begin as a sentence does",
    "the docstring does not end as a sentence does",
    "the docstring is neither /** on one line */ nor between signs on lines of their own",
    "the docstring is neither /** on one line */ nor between signs on lines of their own",
  ]);
});
