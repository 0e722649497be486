// The instruments of the contract tests, held to something outside themselves.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { inspect } from "node:util";
import { test } from "node:test";
import initialize from "node-seal";
import { contractKey } from "../support/independent/contract-suite.ts";
import { CIPHERTEXT_WORDS_AT, pack, unpack, words } from "../support/independent/independent-crypto.ts";
import { DEGREE, IndependentRing } from "../../scripts/vectors/independent-ring.ts";
import { leaksIn, watchBytes } from "../support/leak-watch.ts";

const prime = 1073668097n;

/** a * b mod (X^4096 + 1, prime), term by term, for polynomials with few terms. */
function schoolbook(a: readonly (readonly [number, bigint])[], b: readonly (readonly [number, bigint])[]): bigint[] {
  const product = new Array<bigint>(DEGREE).fill(0n);
  for (const [i, x] of a) {
    for (const [j, y] of b) product[(i + j) % DEGREE]! += i + j < DEGREE ? x * y : -x * y;
  }
  return product.map((x) => ((x % prime) + prime) % prime);
}

const dense = (terms: readonly (readonly [number, bigint])[]): bigint[] => {
  const polynomial = new Array<bigint>(DEGREE).fill(0n);
  for (const [power, coefficient] of terms) polynomial[power] = coefficient;
  return polynomial;
};

test("the independent transform turns products of residues into negacyclic products of polynomials", () => {
  const ring = new IndependentRing(prime);
  const a = [
    [0, 5n],
    [17, -3n],
    [4095, 1n << 29n],
  ] as const;
  const b = [
    [1, 7n],
    [2048, -(1n << 28n)],
    [4000, 11n],
  ] as const;
  const [fa, fb] = [ring.forward(dense(a)), ring.forward(dense(b))];
  assert.deepEqual(ring.inverse(fa.map((x, i) => (x * fb[i]!) % prime)), schoolbook(a, b));
});

test("packing 30-bit residues follows the contract's bit order", () => {
  assert.deepEqual([...pack([1n, 0n, 0n, 0n])], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  assert.deepEqual([...pack([0n, 1n, 0n, 1n << 29n])], [0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]);
  const residues = Array.from({ length: 64 }, (_, i) => (BigInt(i) * 987_654_321n) % (1n << 30n));
  assert.deepEqual(unpack(pack(residues)), residues);
});

test("the independent SEAL layout is byte for byte SEAL's own", async () => {
  const seal = await initialize();
  const key = await contractKey();
  const saved = key.encrypt(new Array<number>(DEGREE).fill(3), "none");
  assert.ok(key.sealBytes(words(saved, CIPHERTEXT_WORDS_AT)).equals(saved));
  assert.equal(typeof seal.Ciphertext, "function");
});

test("bytes that reach a log are found however they are printed, and others are not", () => {
  const secret = randomBytes(4000);
  watchBytes(secret);
  const printed = [
    secret.toString("hex"),
    secret.toString("hex").toUpperCase(),
    secret.toString("base64"),
    secret.toString("base64url"),
    secret.subarray(1).toString("base64"),
    secret.subarray(2).toString("base64"),
    JSON.stringify({ data: secret }),
    JSON.stringify([...secret]),
    [...secret].join(" "),
    inspect(secret.subarray(1995, 2040)),
  ];
  for (const text of printed)
    assert.notDeepEqual(leaksIn(`{"msg":"${text}"}`), [], `not found in ${text.slice(0, 40)}`);
  for (const text of ["", randomBytes(4000).toString("hex"), randomBytes(4000).toString("base64")])
    assert.deepEqual(leaksIn(text), []);
});
