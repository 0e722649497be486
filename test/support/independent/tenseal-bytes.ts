// Bytes as TenSEAL writes them, with what they stand for: made here, and real ones where they are at hand.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after } from "node:test";
import { randomEmbedding } from "./independent-encoding.ts";
import { watchBytes } from "../leak-watch.ts";
import { TUTORIAL, TensealMaker } from "./tenseal-maker.ts";

/** Two vectors of 128 components under one key, and that key. */
export interface TensealBytes {
  /** TenSEALContextProto without a secret key. */
  readonly publicContext: Buffer;
  /** TenSEALContextProto with the secret key. */
  readonly secretContext: Buffer;
  /** CKKSVectorProto. */
  readonly v1: Buffer;
  readonly v2: Buffer;
  readonly plain1: readonly number[];
  readonly plain2: readonly number[];
  /** |v1 - v2|^2, exactly. */
  readonly squaredDistance: number;
  /** TenSEAL's own encrypted answer to that, a CKKSVectorProto, where TenSEAL itself was at work. */
  readonly ownAnswer: Buffer | undefined;
  /** Holds the key. */
  readonly maker: TensealMaker;
}

const REAL_FOLDER =
  process.env["VEILFACE_TENSEAL_BYTES"] ?? join(import.meta.dirname, "..", "..", "..", "..", "shared", "tenseal");

/** Made by node-seal, with TenSEAL's tutorial's parameters. Frees its key after the file's last test. */
export async function tensealBytesMadeHere(): Promise<TensealBytes> {
  const maker = await heldUntilTheEnd(TensealMaker.create(TUTORIAL));
  const [plain1, plain2] = [randomEmbedding(128, 4), randomEmbedding(128, 4)];
  return {
    publicContext: maker.publicContext(maker.makeKeys()),
    secretContext: maker.secretContext(),
    v1: maker.vector(plain1),
    v2: maker.vector(plain2),
    plain1,
    plain2,
    squaredDistance: plain1.reduce((sum, x, k) => sum + (x - plain2[k]!) ** 2, 0),
    ownAnswer: undefined,
    maker,
  };
}

/**
 * Made by TenSEAL itself; undefined where they are not at hand, which is said on standard error: `lost` is what goes
 * untested.
 */
export async function realTensealBytes(lost: string): Promise<TensealBytes | undefined> {
  if (!existsSync(join(REAL_FOLDER, "public.bin"))) {
    process.stderr.write(
      `\nSKIPPED: ${lost}: no bytes of a real TenSEAL in ${REAL_FOLDER}. Set VEILFACE_TENSEAL_BYTES to a folder that has them.\n\n`,
    );
    return undefined;
  }
  const files = ["public.bin", "secret.bin", "v1.bin", "v2.bin", "d.bin", "vectors.json"].map((name) =>
    readFile(join(REAL_FOLDER, name)),
  );
  const [publicContext, secretContext, v1, v2, ownAnswer, vectors] = (await Promise.all(files)) as [
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
    Buffer,
  ];
  const plain = JSON.parse(vectors.toString()) as { readonly v1: number[]; readonly v2: number[]; readonly d2: number };
  for (const bytes of [publicContext, secretContext, v1, v2]) watchBytes(bytes);
  const maker = await heldUntilTheEnd(TensealMaker.create(TUTORIAL, secretContext));
  return {
    publicContext,
    secretContext,
    v1,
    v2,
    plain1: plain.v1,
    plain2: plain.v2,
    squaredDistance: plain.d2,
    ownAnswer,
    maker,
  };
}

async function heldUntilTheEnd(making: Promise<TensealMaker>): Promise<TensealMaker> {
  const maker = await making;
  after(() => {
    maker[Symbol.dispose]();
  });
  return maker;
}
