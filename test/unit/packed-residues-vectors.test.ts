import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { RingKernel, parameterSet } from "@veilface/fhe";

/** What anyone who writes CIPHERTEXT_ENCODING_PACKED_RESIDUES in another language can hold their code to. */
interface Vector {
  readonly parameterSet: string;
  /** Residue i of polynomial p is (multiplier * (4096 * p + i) + 1) mod its prime. */
  readonly multiplier: number;
  readonly polynomials: number;
  readonly firstResidues: readonly number[];
  /** The first 15 bytes: four residues. */
  readonly firstBytes: string;
  readonly byteLength: number;
  readonly sha256: string;
}

const vectors = JSON.parse(await readFile(join(import.meta.dirname, "..", "vectors", "packed-residues.json"), "utf8")) as Vector[];

/** The bytes from the proto's comment alone: residue i in bits 30i to 30i + 29, least significant first. */
function packedByDefinition(residues: readonly bigint[]): Buffer {
  let stream = 0n;
  residues.forEach((residue, i) => (stream |= residue << BigInt(30 * (i % 4096))));
  return Buffer.from(stream.toString(16).padStart((2 * residues.length * 30) / 8, "0"), "hex").reverse();
}

for (const vector of vectors) {
  test(`packed residues of ${vector.polynomials} polynomials of ${vector.parameterSet} are those of the published vector`, () => {
    const primes = parameterSet(vector.parameterSet).dataPrimes;
    const residues = Uint32Array.from({ length: 4096 * vector.polynomials }, (_, k) => {
      const prime = BigInt(primes[Math.floor(k / 4096) % primes.length]!);
      return Number((BigInt(vector.multiplier) * BigInt(k) + 1n) % prime);
    });
    const packed = RingKernel.create(primes).pack(residues);
    assert.deepEqual([...residues.subarray(0, 4)], vector.firstResidues);
    assert.equal(Buffer.from(packed.subarray(0, 15)).toString("hex"), vector.firstBytes);
    assert.equal(packed.length, vector.byteLength);
    assert.equal(createHash("sha256").update(packed).digest("hex"), vector.sha256);
    const first = packedByDefinition(Array.from(residues.subarray(0, 4096), BigInt));
    assert.deepEqual(Buffer.from(packed.subarray(0, 15_360)), first);
  });
}
