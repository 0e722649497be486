import { Option } from "commander";
import type { Command } from "commander";
import { checkContextId } from "../ids.ts";
import { PairwiseClient } from "../pairwise/pairwise-client.ts";
import type { PairwiseContext, PairwiseOperation } from "../pairwise/pairwise-wire.ts";
import { readTensealFile } from "../pairwise/tenseal-files.ts";
import { addJson, addServer, parsePositive, serverOptions } from "./options.ts";
import type { ServerFlags } from "./options.ts";
import { refuseExisting, writeOutput } from "./output-file.ts";
import type { Cli, Outcome } from "./outcome.ts";
import { showProgress } from "./progress.ts";

interface CompareFlags extends ServerFlags {
  out: string;
  operation: PairwiseOperation;
  normBound?: number;
  force?: true;
}

interface UploadFlags extends ServerFlags {
  acceptError?: number;
}

interface DeleteFlags extends ServerFlags {
  force?: true;
}

const BYTES_PER_MB = 1_000_000;

const EXAMPLES = `
In Python, with the key that stays there:
  open("secret.bin", "wb").write(context.serialize(save_secret_key=True))
  context.make_context_public()
  open("public.bin", "wb").write(context.serialize())
  open("v1.bin", "wb").write(ts.ckks_vector(context, embedding).serialize())

Then here, which needs no key; files may be base64 text too:
  veilface tenseal upload public.bin
  veilface tenseal compare CONTEXT-ID v1.bin v2.bin --out distance.bin
  veilface tenseal delete CONTEXT-ID`;

const COMPARE_EXAMPLES = `
Examples:
  veilface tenseal compare CONTEXT-ID v1.bin v2.bin --out distance.bin
  veilface tenseal compare CONTEXT-ID v1.txt v2.txt --out similarity.txt --operation inner-product --norm-bound 1

${readingInPython("distance.bin", false).join("\n")}`;

export function addTenseal(program: Command, cli: Cli): void {
  const tenseal = program.command("tenseal").description("Compare vectors that TenSEAL encrypted, pair by pair. The slow road; no key is needed here.").addHelpText("after", EXAMPLES);
  addUpload(tenseal, cli);
  addCompare(tenseal, cli);
  addDelete(tenseal, cli);
}

function addUpload(tenseal: Command, cli: Cli): void {
  const command = tenseal
    .command("upload")
    .argument("<public-file>", "what context.serialize() gives after make_context_public(), raw or base64 text")
    .description("Upload a public TenSEAL context and print its id. A context with its secret key is refused before anything is sent.")
    .option("--accept-error <e>", "largest expected error of squared distances to accept (usually 0.01)", parsePositive)
    .addHelpText("after", "\nExample:\n  veilface tenseal upload public.bin")
    .action(async (path: string, flags: UploadFlags) => {
      cli.finish(await upload(path, flags, cli.signal));
    });
  addJson(addServer(command));
}

function addCompare(tenseal: Command, cli: Cli): void {
  const command = tenseal
    .command("compare")
    .argument("<context-id>", "all 64 digits that upload printed")
    .argument("<first>", "an encrypted vector: what ts.ckks_vector(...).serialize() gives, raw or base64 text")
    .argument("<second>", "another one of the same context")
    .description("Compare two encrypted vectors and write the encrypted result: base64 text where the first file is, raw otherwise.")
    .requiredOption("--out <file>", "where to write the result")
    .addOption(new Option("--operation <operation>", "what to compute").choices(["squared-distance", "inner-product"]).default("squared-distance"))
    .option("--norm-bound <r>", "largest Euclidean norm of either vector: with it the server is about twice as fast", parsePositive)
    .option("--force", "replace a file that is there")
    .addHelpText("after", COMPARE_EXAMPLES)
    .action(async (contextId: string, first: string, second: string, flags: CompareFlags) => {
      cli.finish(await compare(contextId, [first, second], flags, cli.signal));
    });
  addJson(addServer(command));
}

function addDelete(tenseal: Command, cli: Cli): void {
  const command = tenseal
    .command("delete")
    .argument("<context-id>", "all 64 digits that upload printed")
    .description("Delete a context and its keys from the server.")
    .option("--force", "delete galleries under it too, with all their templates")
    .addHelpText("after", "\nExample:\n  veilface tenseal delete CONTEXT-ID")
    .action(async (contextId: string, flags: DeleteFlags) => {
      cli.finish(await remove(contextId, flags, cli.signal));
    });
  addJson(addServer(command));
}

async function upload(path: string, flags: UploadFlags, signal: AbortSignal): Promise<Outcome> {
  const { bytes } = await readTensealFile(path);
  using client = new PairwiseClient(await serverOptions(flags));
  using progress = showProgress("MB", Math.ceil(bytes.length / BYTES_PER_MB));
  const onProgress = (sent: number, total: number): void => {
    progress.advance(Math.round(sent / BYTES_PER_MB), Math.ceil(total / BYTES_PER_MB));
  };
  const accepted = flags.acceptError === undefined ? {} : { acceptedError: flags.acceptError };
  return report(await client.uploadTensealContext(bytes, { signal, name: path, onProgress, ...accepted }));
}

function report({ createTime, ...context }: PairwiseContext): Outcome {
  const { contextId, degree, modulusBits, scale, maxDimension, maxDistance, expectedError } = context;
  const slots = degree / 2;
  const error = `squared distances of unit vectors are off by less than ${expectedError.toPrecision(2)} (19 of 20)`;
  return {
    json: { ...context, slots, createTime: createTime.toISOString() },
    text: [
      `context ${contextId}`,
      `vectors of up to ${maxDimension} components (${slots} slots), distances up to ${maxDistance.toPrecision(3)}`,
      ...(expectedError > 0 ? [error] : []),
      `ring degree ${degree}, primes of ${modulusBits.join(", ")} bits, scale 2^${Number(Math.log2(scale).toFixed(2))}`,
    ],
    yes: true,
  };
}

async function compare(contextId: string, [first, second]: readonly [string, string], flags: CompareFlags, signal: AbortSignal): Promise<Outcome> {
  const { out, operation, normBound, force = false } = flags;
  checkContextId(contextId);
  if (!force) await refuseExisting(out);
  const [x, y] = [await readTensealFile(first), await readTensealFile(second)];
  using client = new PairwiseClient(await serverOptions(flags));
  const reply = await client.compare(
    contextId,
    { encoding: "tenseal", bytes: x.bytes, name: first },
    { encoding: "tenseal", bytes: y.bytes, name: second },
    { operation, signal, ...(normBound !== undefined && { normBound }) },
  );
  if (reply === undefined) {
    const same = `${first} and ${second} hold the same ciphertext: the squared distance is exactly 0; nothing is written`;
    return { json: { contextId, operation, identical: true }, text: [same], yes: true };
  }
  const written = x.base64 ? Buffer.from(Buffer.from(reply.bytes).toString("base64")) : reply.bytes;
  await writeOutput(out, written, force);
  const what = operation === "squared-distance" ? "squared distance" : "inner product";
  return {
    json: { contextId, operation, out, base64: x.base64, bytes: written.length },
    text: [`the encrypted ${what} is in ${out}; only the secret key opens it`, ...readingInPython(out, x.base64)],
    yes: true,
  };
}

async function remove(contextId: string, flags: DeleteFlags, signal: AbortSignal): Promise<Outcome> {
  using client = new PairwiseClient(await serverOptions(flags));
  await client.deleteContext(contextId, { force: flags.force === true, signal });
  return { json: { contextId, deleted: true }, text: [`context ${contextId} deleted`], yes: true };
}

/** How to read a result. A context with its secret key is a file of the user's, whose name is not known here. */
function readingInPython(path: string, base64: boolean): string[] {
  const read = (file: string): string => (base64 ? `base64.b64decode(open(${JSON.stringify(file)}, "rb").read())` : `open(${JSON.stringify(file)}, "rb").read()`);
  return [
    "In Python:",
    `  import ${base64 ? "base64, " : ""}tenseal as ts`,
    `  context = ts.context_from(${read(base64 ? "secret.txt" : "secret.bin")})`,
    `  distance = ts.lazy_ckks_vector_from(${read(path)})`,
    "  distance.link_context(context)",
    "  print(distance.decrypt()[0])",
  ];
}
