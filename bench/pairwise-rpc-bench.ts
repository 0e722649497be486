// The pairwise scheme against a real server process on loopback: upload of a context with its keys, comparison of two
// ciphertexts, and sizes.
import { PairwiseClient } from "@veilface/client";
import type { PairwiseContext, PairwiseEncoding } from "@veilface/client";
import { definedOnly } from "@veilface/proto";
import { ByteCounter } from "../scripts/dev/byte-counter.ts";
import { ServerProcess } from "../scripts/dev/server-process.ts";
import { interleave, latency, passing } from "./figures.ts";
import type { BenchLine } from "./figures.ts";
import { TutorialPairs, aboutTutorial } from "./tutorial-pairs.ts";

export const PAIRWISE_RPC_CASES = ["pairwise_upload", "pairwise_rpc"];

const DIMENSIONS = [128, 512];
const COMPARISONS = 40;
const UPLOADS = 5;
const NORM_BOUNDS = ["none", 1] as const;
type NormBound = (typeof NORM_BOUNDS)[number];

/** The same server on a line of its own and on one that counts what passes. */
interface Road {
  readonly direct: PairwiseClient;
  readonly counted: PairwiseClient;
  readonly wire: ByteCounter;
  readonly pairs: TutorialPairs;
}

/** What is uploaded: as TenSEAL writes it, or with SEAL alone as small as can be. */
interface Material {
  readonly encoding: PairwiseEncoding;
  readonly keyBytes: number;
  readonly send: (client: PairwiseClient) => Promise<PairwiseContext>;
}

/** Measures every dimension; about half a minute. */
export async function* pairwiseRpcBench(): AsyncGenerator<BenchLine> {
  await using server = await ServerProcess.start(["--log-level", "warn"]);
  using wire = await ByteCounter.open(() => server.address);
  using direct = new PairwiseClient({ address: server.address });
  using counted = new PairwiseClient({ address: wire.address });
  for (const dimension of DIMENSIONS) {
    using pairs = await TutorialPairs.create(dimension);
    const road = { direct, counted, wire, pairs };
    for (const material of [tensealContext(pairs), sealKeys(pairs)]) {
      yield await upload(road, material);
      yield* comparisons(road, material);
    }
  }
}

/** With rotation keys for all powers of two both ways, and without seeds. */
function tensealContext({ maker }: TutorialPairs): Material {
  const context = maker.publicContext(maker.makeKeys());
  return {
    encoding: "TENSEAL_CKKS_VECTOR",
    keyBytes: context.length,
    send: (client) => client.uploadTensealContext(context),
  };
}

/** With the rotation keys that the dimension needs, and seeds in place of what can be drawn from them. */
function sealKeys(pairs: TutorialPairs): Material {
  const { maker } = pairs;
  const keys = pairs.makeKeys();
  const [relinKeys, galoisKeys] = [keys.relinKeys({ seeded: true }), keys.galoisKeys({ seeded: true })];
  const context = {
    encryptionParameters: maker.encryptionParameters(),
    scale: maker.parameters.scale,
    relinKeys,
    galoisKeys,
  };
  return {
    encoding: "SEAL",
    keyBytes: relinKeys.length + galoisKeys.length,
    send: (client) => client.uploadContext(context),
  };
}

/** A context that is there already is not stored again, so it is deleted between uploads. */
async function upload(
  { direct, counted, wire, pairs }: Road,
  { encoding, keyBytes, send }: Material,
): Promise<BenchLine> {
  const milliseconds: number[] = [];
  for (let i = 0; i < UPLOADS; i++) {
    const start = performance.now();
    const { contextId } = await send(direct);
    milliseconds.push(performance.now() - start);
    await direct.deleteContext(contextId);
  }
  const bytes = await passing(wire, () => send(counted));
  return {
    case: "pairwise_upload",
    ...aboutTutorial(pairs.dimension),
    encoding,
    ...latency(milliseconds),
    key_bytes: keyBytes,
    ...bytes,
  };
}

/** With and without a bound on the norm, taking turns. Every distance is decrypted, past the clock. */
async function* comparisons(
  { direct, counted, wire, pairs }: Road,
  { encoding, send }: Material,
): AsyncGenerator<BenchLine> {
  const { dimension } = pairs;
  const { contextId } = await send(direct);
  const encrypted = pairs.encrypt(encoding, { seeded: encoding === "SEAL" });
  const distances: [round: number, bytes: Uint8Array][] = [];
  const compare = async (client: PairwiseClient, bound: NormBound, round: number): Promise<void> => {
    const [x, y] = encrypted[round % encrypted.length]!;
    const normBound = bound === "none" ? undefined : bound;
    const options = definedOnly({ operation: "SQUARED_DISTANCE" as const, dimension, normBound });
    const distance = await client.compare(
      contextId,
      { first: { encoding, bytes: x }, second: { encoding, bytes: y } },
      options,
    );
    distances.push([round, distance!.bytes]);
  };
  // Every worker of the server loads the keys at its first comparison.
  await Promise.all(Array.from({ length: 8 }, (_, round) => compare(direct, "none", round)));
  const samples = await interleave(
    COMPARISONS,
    NORM_BOUNDS.map((bound) => (round: number) => compare(direct, bound, round)),
  );
  for (const [k, bound] of NORM_BOUNDS.entries()) {
    const bytes = await passing(wire, () => compare(counted, bound, 0));
    yield {
      case: "pairwise_rpc",
      ...aboutTutorial(dimension),
      encoding,
      norm_bound: bound,
      ...latency(samples[k]!),
      ...bytes,
    };
  }
  for (const [round, bytes] of distances) pairs.check(round, encoding, bytes);
}
