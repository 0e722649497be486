import { createHash } from "node:crypto";
import { DEGREE, RingKernel, parameterSet } from "@veilface/fhe";
import type { ParameterSetName } from "@veilface/fhe";

/** What anyone who writes CIPHERTEXT_ENCODING_PACKED_RESIDUES in another language can hold their code to. */
export interface PackedResiduesVector {
  readonly parameterSet: ParameterSetName;
  /** Residue i of polynomial p is (multiplier * (4096 * p + i) + 1) mod its prime. */
  readonly multiplier: number;
  readonly polynomials: number;
  readonly firstResidues: readonly number[];
  /** The first 15 bytes, hexadecimal: four residues. */
  readonly firstBytes: string;
  readonly byteLength: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

const MULTIPLIER = 2654435761;

/** Fresh ciphertexts and products of both parameter sets, by their sizes. */
export function packedResiduesVectors(): PackedResiduesVector[] {
  return [
    vector("PACKED_N4096_Q60", 4),
    vector("PACKED_N4096_Q60", 6),
    vector("PACKED_N4096_Q30", 2),
    vector("PACKED_N4096_Q30", 3),
  ];
}

function vector(name: ParameterSetName, polynomials: number): PackedResiduesVector {
  const primes = parameterSet(name).dataPrimes;
  const residues = Uint32Array.from({ length: polynomials * DEGREE }, (_, k) => {
    const prime = BigInt(primes[Math.floor(k / DEGREE) % primes.length]!);
    return Number((BigInt(MULTIPLIER) * BigInt(k) + 1n) % prime);
  });
  const bytes = RingKernel.create(primes).pack(residues);
  return {
    parameterSet: name,
    multiplier: MULTIPLIER,
    polynomials,
    firstResidues: [...residues.subarray(0, 4)],
    firstBytes: Buffer.from(bytes.subarray(0, 15)).toString("hex"),
    byteLength: bytes.length,
    sha256: createHash("sha256").update(bytes).digest("hex"),
  };
}
