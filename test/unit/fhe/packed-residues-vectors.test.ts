import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { RingKernel, parameterSet } from "@veilface/fhe";
import type { PackedResiduesVector } from "../../../scripts/vectors/packed-residues.ts";
import { readVector } from "../../vectors/read-vectors.ts";

const vectors = readVector("packed-residues.json") as PackedResiduesVector[];

/** The bytes from the proto's comment alone: residue i in bits 30i to 30i + 29, least significant first. */
function packedByDefinition(residues: readonly bigint[]): Buffer {
  let stream = 0n;
  residues.forEach((residue, i) => (stream |= residue << BigInt(30 * i)));
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
    const byDefinition = Array.from({ length: vector.polynomials }, (_, p) =>
      packedByDefinition(Array.from(residues.subarray(4096 * p, 4096 * (p + 1)), BigInt)),
    );
    assert.equal(createHash("sha256").update(Buffer.concat(byDefinition)).digest("hex"), vector.sha256);
  });
}
