import { CiphertextCodec, RingKernel, loadPublicSeal, parameterSet } from "@veilface/fhe";
import type { EmbeddingSpace, ParameterSetName } from "@veilface/fhe";
import { packedResiduesVectors } from "./packed-residues.ts";
import { packedVector } from "./packed-vector.ts";
import { nttVectors, smallBlock } from "./ring-vectors.ts";
import { wireVectors } from "./wire-vectors.ts";

const COSINE: EmbeddingSpace = { dimension: 128, metric: "cosine", normBound: 1 };
const EUCLIDEAN: EmbeddingSpace = { dimension: 128, metric: "euclidean", normBound: 1.5 };

/** Every test vector, by the name of its file in test/vectors: the same at every call. */
export async function allVectors(): Promise<Map<string, unknown>> {
  return new Map<string, unknown>([
    ["ntt.json", nttVectors()],
    ["packed-residues.json", packedResiduesVectors()],
    ["small-block.json", smallBlock()],
    ["packed-q60-cosine.json", packedVector("PACKED_N4096_Q60", COSINE, await dataParmsId("PACKED_N4096_Q60"))],
    ["packed-q30-euclidean.json", packedVector("PACKED_N4096_Q30", EUCLIDEAN, await dataParmsId("PACKED_N4096_Q30"))],
    ["wire.json", wireVectors()],
  ]);
}

async function dataParmsId(name: ParameterSetName): Promise<Uint8Array> {
  const set = parameterSet(name);
  using codec = new CiphertextCodec(await loadPublicSeal(), RingKernel.create(set.dataPrimes), set);
  return codec.parmsId;
}
