import { stat } from "node:fs/promises";
import { join, parse } from "node:path";
import { Option } from "commander";
import type { Command } from "commander";
import { PairwiseClient, readTensealFile } from "@veilface/client";
import type { PairwiseCiphertext, PairwiseOperation } from "@veilface/client";
import { checkContextId, definedOnly, openVector } from "@veilface/client/advanced";
import { addJson, addServer, parsePositive, serverOptions } from "../options.ts";
import type { ServerFlags } from "../options.ts";
import { refuseExisting, writeOutput } from "../output-file.ts";
import { formatTable } from "../outcome.ts";
import type { Cli, Outcome } from "../outcome.ts";
import { readingInPython } from "./in-python.ts";
import { makeFolder } from "./search.ts";

interface CompareFlags extends ServerFlags {
  out: string;
  operation: PairwiseOperation;
  normBound?: number;
  force?: true;
}

const COMPARE_EXAMPLES = `
Examples:
  veilface tenseal compare CONTEXT-ID v1.bin v2.bin --out distance.bin
  veilface tenseal compare CONTEXT-ID v1.txt v2.txt --out similarity.txt --operation INNER_PRODUCT --norm-bound 1
  veilface tenseal compare CONTEXT-ID probe.bin people/*.bin --out distances

${readingInPython("distance.bin", false).join("\n")}`;

export function addCompare(tenseal: Command, cli: Cli): void {
  const command = tenseal
    .command("compare")
    .argument("<context-id>", "all 64 digits that upload printed")
    .argument("<first>", "an encrypted vector: what ts.ckks_vector(...).serialize() gives, raw or base64 text")
    .argument("<others...>", "others of the same context, each of which the first is compared with")
    .description(
      "Compare an encrypted vector with others and write the encrypted results: base64 text where the first file is, raw otherwise.",
    )
    .requiredOption(
      "--out <file>",
      "where to write the result; of several, the folder: they are named as the vectors are",
    )
    .addOption(
      new Option("--operation <operation>", "what to compute")
        .choices(["SQUARED_DISTANCE", "INNER_PRODUCT"])
        .default("SQUARED_DISTANCE"),
    )
    .option(
      "--norm-bound <r>",
      "largest Euclidean norm of any vector: with it the server is about twice as fast",
      parsePositive,
    )
    .option("--force", "replace files that are there")
    .addHelpText("after", COMPARE_EXAMPLES)
    .action(async (...[contextId, first, others, flags]: [string, string, string[], CompareFlags]) => {
      cli.finish(await compare({ contextId, first, others }, flags, cli.signal));
    });
  addJson(addServer(command));
}

/** One comparison: a vector's file, and where its result goes. */
interface Comparison {
  readonly vector: string;
  readonly out: string;
}

/** Vectors, by their paths, and the context that they are encrypted under. */
interface VectorFiles {
  readonly contextId: string;
  readonly first: string;
  readonly others: readonly string[];
}

async function compare(
  { contextId, first, others }: VectorFiles,
  flags: CompareFlags,
  signal: AbortSignal,
): Promise<Outcome> {
  const { out, operation, normBound, force = false } = flags;
  checkContextId(contextId);
  const single = others.length === 1 && !(await isFolder(out));
  const comparisons = single ? others.map((vector) => ({ vector, out })) : inFolder(out, others);
  if (!force) for (const { out: file } of comparisons) await refuseExisting(file);
  const { bytes, base64 } = await readTensealFile(first);
  // All are looked at before anything is sent, and read again in their turn: there may be many.
  for await (const vector of vectorsOf(others)) openVector(vector);
  using client = new PairwiseClient(await serverOptions(flags));
  const options = definedOnly({ operation, signal, normBound });
  const vectors = {
    first: { encoding: "TENSEAL_CKKS_VECTOR", bytes, name: first },
    others: vectorsOf(others),
  } as const;
  const replies = client.compareMany(contextId, vectors, options);
  if (!single) await makeFolder(out);
  const written: Written[] = [];
  for await (const [comparison, reply] of inStep(comparisons, replies))
    written.push(await write(comparison, reply, { base64, force }));
  return outcomeOf({ contextId, operation, out, base64 }, written);
}

async function write(
  { vector, out }: Comparison,
  reply: PairwiseCiphertext | undefined,
  { base64, force }: { base64: boolean; force: boolean },
): Promise<Written> {
  if (reply === undefined) return { vector, out, bytes: 0, identical: true };
  const bytes = base64 ? Buffer.from(Buffer.from(reply.bytes).toString("base64")) : reply.bytes;
  await writeOutput(out, bytes, force);
  return { vector, out, bytes: bytes.length };
}

/** Each answer with what it answers. */
async function* inStep<T, U>(
  questions: readonly T[],
  answers: AsyncIterable<U>,
): AsyncGenerator<[T, U], void, undefined> {
  const asked = questions.values();
  for await (const answer of answers) {
    const question = asked.next();
    if (question.done === true) return;
    yield [question.value, answer];
  }
}

async function* vectorsOf(paths: readonly string[]): AsyncGenerator<PairwiseCiphertext, void, undefined> {
  for (const name of paths) yield { encoding: "TENSEAL_CKKS_VECTOR", bytes: (await readTensealFile(name)).bytes, name };
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/** Results named as their vectors are, with a number where several have one name. */
function inFolder(folder: string, vectors: readonly string[]): Comparison[] {
  const taken = new Set<string>();
  return vectors.map((vector) => {
    const { name, ext } = parse(vector);
    let file = `${name}${ext}`;
    for (let number = 2; taken.has(file); number++) file = `${name}-${number}${ext}`;
    taken.add(file);
    return { vector, out: join(folder, file) };
  });
}

/** A comparison that is done; one with itself has nothing to write: the squared distance is exactly 0. */
interface Written extends Comparison {
  readonly bytes: number;
  readonly identical?: true;
}

function rowOf({ vector, out, identical }: Written): string[] {
  return [vector, identical === true ? "none: it is the same ciphertext, at squared distance 0" : out];
}

interface Compared {
  readonly contextId: string;
  readonly operation: PairwiseOperation;
  readonly out: string;
  readonly base64: boolean;
}

function outcomeOf(compared: Compared, written: readonly Written[]): Outcome {
  const what = compared.operation === "SQUARED_DISTANCE" ? "squared distance" : "inner product";
  const [only, ...others] = written;
  if (only?.identical === true && others.length === 0) {
    const { contextId, operation } = compared;
    const text = "both hold the same ciphertext: the squared distance is exactly 0; nothing is written";
    return { json: { contextId, operation, identical: true }, text: [text], yes: true };
  }
  if (only !== undefined && others.length === 0) {
    const text = `the encrypted ${what} is in ${only.out}; only the secret key opens it`;
    return {
      json: { ...compared, bytes: only.bytes },
      text: [text, ...readingInPython(only.out, compared.base64)],
      yes: true,
    };
  }
  const table = formatTable(["vector", `encrypted ${what}`], written.map(rowOf));
  return {
    json: { ...compared, results: written },
    text: [...table, ...(only === undefined ? [] : readingInPython(only.out, compared.base64))],
    yes: true,
  };
}
