import { createHash } from "node:crypto";
import {
  DEGREE,
  distanceFromScore,
  emptyPolynomials,
  encodeProbe,
  encodeProbeEmbedding,
  encodeTemplateEmbedding,
  encodedDimension,
  looseLayout,
  placeTemplate,
  plainDistance,
  scalesOf,
  scoreIndex,
  sealCiphertext,
  toTiles,
} from "@veilface/fhe";
import type { EmbeddingSpace, ParameterSetName, Scales } from "@veilface/fhe";
import { Drawing } from "./drawing.ts";
import { DrawnKey } from "./drawn-key.ts";

/** Bytes of a ciphertext in packed residues. */
interface PackedBytes {
  readonly byteLength: number;
  /** Hexadecimal. */
  readonly sha256: string;
  /** Base64. */
  readonly packedResidues: string;
}

/** An embedding and its ciphertext. */
interface EncryptedEmbedding extends PackedBytes {
  readonly embedding: readonly number[];
  /** The first so many coefficients of the plaintext, as many as the encoded dimension; the rest are zero. */
  readonly coefficients: readonly number[];
}

/** One comparison from end to end. docs/wire-format.md explains the fields. */
export interface PackedVector {
  readonly about: string;
  readonly parameterSet: ParameterSetName;
  /** The 32 bytes, hexadecimal. */
  readonly keyId: string;
  readonly contextId: string;
  /** 4096 characters: coefficient 0 first, "+" for 1, "0" for 0, "-" for -1. */
  readonly secretKey: string;
  readonly space: EmbeddingSpace;
  readonly stride: number;
  readonly scales: Scales;
  /** In slot 0; `seal` is the same ciphertext in SEAL's serialisation, base64. */
  readonly template: EncryptedEmbedding & { readonly seal: string };
  readonly probe: EncryptedEmbedding;
  readonly product: PackedBytes & {
    /** What the product decrypts to: 4096 whole numbers, in decimal because a double does not hold all of them. */
    readonly coefficients: readonly string[];
    /** Which of them is the score of slot 0. */
    readonly scoreIndex: number;
    readonly score: number;
    readonly distance: number;
  };
  /** The same distance without encryption. */
  readonly plainDistance: number;
}

const ABOUT =
  "Made by npm run vectors. The key was drawn for this file from the SHAKE256 stream of a published label: it protects nothing. Explained in docs/wire-format.md.";

/**
 * A vector of one template and one probe at the stride of templates enrolled alone. `parmsId`: SEAL's, of the data
 * level.
 */
export function packedVector(parameterSet: ParameterSetName, space: EmbeddingSpace, parmsId: Uint8Array): PackedVector {
  const drawing = new Drawing(`${parameterSet} ${space.metric}`);
  const key = new DrawnKey(parameterSet, drawing);
  const layout = looseLayout(encodedDimension(space));
  const scales = scalesOf(key.set, layout);
  const [template, probe] = drawPair(space, drawing);
  const templatePolynomial = emptyPolynomials(layout)[0]!;
  const block = { layout, scales, polynomials: [templatePolynomial] };
  placeTemplate(block, 0, encodeTemplateEmbedding(space, template).vector);
  const { vector, squaredNorm } = encodeProbeEmbedding(space, probe);
  const probePolynomial = encodeProbe(layout, scales, vector)[0]!;
  const [t, p] = [key.encrypt(templatePolynomial), key.encrypt(probePolynomial)];
  const product = productOf(key, t, p);
  const coefficients = key.decrypt(product);
  const at = scoreIndex(layout, 0);
  const score = Number(coefficients[at]) / (scales.template * scales.probe);
  return {
    about: ABOUT,
    parameterSet,
    keyId: key.keyId.toString("hex"),
    contextId: key.contextId,
    secretKey: ternaryText(key.secret),
    space,
    stride: layout.stride,
    scales,
    template: {
      embedding: template,
      coefficients: [...templatePolynomial.subarray(0, layout.stride)],
      ...packedBytes(key, t),
      seal: Buffer.from(sealCiphertext(parmsId, key.set.dataPrimes.length, t)).toString("base64"),
    },
    probe: { embedding: probe, coefficients: [...probePolynomial.subarray(0, layout.stride)], ...packedBytes(key, p) },
    product: {
      scoreIndex: at,
      score,
      distance: distanceFromScore(space, score, squaredNorm),
      ...packedBytes(key, product),
      coefficients: coefficients.map(String),
    },
    plainDistance: plainDistance(space, template, probe),
  };
}

/** Two embeddings of one face, roughly: the second is the first with a third of its length in noise. */
function drawPair({ dimension, normBound }: EmbeddingSpace, drawing: Drawing): [number[], number[]] {
  const bound = (normBound * 1.2) / Math.sqrt(dimension);
  const template = drawing.components(dimension, bound);
  const noise = drawing.components(dimension, bound / 3);
  return [template, template.map((x, k) => Math.round((x + noise[k]!) * 1e4) / 1e4)];
}

function productOf({ kernel }: DrawnKey, template: Uint32Array, probe: Uint32Array): Uint32Array {
  kernel.loadProbes([toTiles([probe])]);
  return kernel.matchBlock([toTiles([template])])[0]!;
}

function packedBytes({ kernel }: DrawnKey, residues: Uint32Array): PackedBytes {
  const bytes = kernel.pack(residues);
  return {
    byteLength: bytes.length,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    packedResidues: Buffer.from(bytes).toString("base64"),
  };
}

function ternaryText(secret: Float64Array): string {
  if (secret.length !== DEGREE) throw new Error(`a secret key of ${secret.length} coefficients: expected ${DEGREE}`);
  return Array.from(secret, (c) => "-0+"[c + 1]!).join("");
}
