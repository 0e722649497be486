import type { Command } from "commander";
import { PairwiseClient, readTensealFile, streamTensealFile } from "@veilface/client";
import type { PairwiseContext } from "@veilface/client";
import { definedOnly } from "@veilface/client/advanced";
import { addJson, addServer, parseCount, parsePositive, serverOptions } from "../options.ts";
import type { ServerFlags } from "../options.ts";
import type { Cli, Outcome } from "../outcome.ts";
import { showProgress } from "../progress.ts";

interface UploadFlags extends ServerFlags {
  dimension?: number;
  acceptError?: number;
}

const BYTES_PER_MB = 1_000_000;

const UPLOAD_EXAMPLES = `
Examples:
  veilface tenseal upload public.bin
  veilface tenseal upload large.bin --dimension 512

A server takes 64 MiB of keys for a context. With --dimension a file of any size is read, and only what vectors of so many
components need is sent. Vectors and results stay as they are; the context's id is that of the keys that were sent.`;

export function addUpload(tenseal: Command, cli: Cli): void {
  const command = tenseal
    .command("upload")
    .argument("<public-file>", "what context.serialize() gives, raw or base64 text")
    .description(
      "Upload a public TenSEAL context and print its id. A context with its secret key is refused before anything is sent.",
    )
    .option(
      "--dimension <n>",
      "components of the vectors: of the Galois keys send only those that these need",
      parseCount,
    )
    .option("--accept-error <e>", "largest expected error of squared distances to accept (usually 0.01)", parsePositive)
    .addHelpText("after", UPLOAD_EXAMPLES)
    .action(async (path: string, flags: UploadFlags) => {
      cli.finish(await upload(path, flags, cli.signal));
    });
  addJson(addServer(command));
}

async function upload(path: string, flags: UploadFlags, signal: AbortSignal): Promise<Outcome> {
  const { dimension, acceptError: acceptedError } = flags;
  // Without a dimension the file is looked at before anything else, and is small.
  const data = dimension === undefined ? (await readTensealFile(path)).bytes : streamTensealFile(path);
  using client = new PairwiseClient(await serverOptions(flags));
  using progress = showProgress("MB");
  const onProgress = (sent: number, total: number): void => {
    progress.advance(Math.round(sent / BYTES_PER_MB), Math.ceil(total / BYTES_PER_MB));
  };
  const options = definedOnly({ signal, name: path, onProgress, dimension, acceptedError });
  return report(await client.uploadTensealContext(data, options));
}

/** A context as JSON. */
export function describeContext({
  createTime,
  ...context
}: PairwiseContext): Omit<PairwiseContext, "createTime"> & { slots: number; createTime: string } {
  return { ...context, slots: context.degree / 2, createTime: createTime.toISOString() };
}

function report(context: PairwiseContext): Outcome {
  const { contextId, degree, modulusBits, scale, maxDimension, maxDistance, expectedError } = context;
  const error = `squared distances of unit vectors are off by less than ${expectedError.toPrecision(2)} (19 of 20)`;
  return {
    json: describeContext(context),
    text: [
      `context ${contextId}`,
      `vectors of up to ${maxDimension} components (${degree / 2} slots), distances up to ${maxDistance.toPrecision(3)}`,
      ...(expectedError > 0 ? [error] : []),
      `ring degree ${degree}, primes of ${modulusBits.join(", ")} bits, scale 2^${Number(Math.log2(scale).toFixed(2))}`,
    ],
    yes: true,
  };
}
