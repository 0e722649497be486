import assert from "node:assert/strict";
import { after, test } from "node:test";
import { deflateSync, inflateSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import fc from "fast-check";
import {
  FheError,
  PairwiseEvaluator,
  checkGaloisKeys,
  checkPublicKey,
  checkRelinKeys,
  loadPublicSeal,
  readEncryptionParameters,
  withScale,
} from "@veilface/fhe";
import { checkFreshCiphertext } from "../../../fhe/pairwise/fresh-ciphertext.ts";
import { COMPRESSIONS, SMALL, TensealMaker } from "../../support/independent/tenseal-maker.ts";
import type { Compression } from "../../support/independent/tenseal-maker.ts";

/** What takes longer hangs. */
const HANG_MS = 60_000;
const seal = await loadPublicSeal();
const maker = await TensealMaker.create(SMALL);
const stranger = await TensealMaker.create({ ...SMALL, primeBits: [34, 35, 40], scale: 2 ** 31 });
const evaluator = new PairwiseEvaluator(
  seal,
  withScale(readEncryptionParameters(seal, maker.encryptionParameters()), SMALL.scale),
);
const { levels } = evaluator;
const keys = maker.makeKeys([1, 2, 4]);
after(() => {
  for (const handle of [evaluator, maker, stranger]) handle[Symbol.dispose]();
});

/** An object from outside: how SEAL writes it, and how it is checked. */
interface Specimen {
  readonly kind: "RelinKeys" | "GaloisKeys" | "Ciphertext" | "PublicKey";
  readonly name: string;
  /** The check, which has no SEAL to show bytes to. */
  readonly check: (data: Uint8Array) => unknown;
  readonly write: (compression: Compression) => Buffer;
  readonly reasons: readonly string[];
}

const KEY_REASONS = ["KEYS_MALFORMED", "KEYS_MISMATCH"];
const CIPHERTEXT_REASONS = [
  "CIPHERTEXT_MALFORMED",
  "CIPHERTEXT_TOO_LARGE",
  "CIPHERTEXT_TRANSPARENT",
  "PARAMETER_SET_MISMATCH",
];
const checkFresh = (data: Uint8Array): Uint8Array => checkFreshCiphertext(levels, data);
// One ciphertext each, whatever its compression: encrypting is random.
const freshPlain = ([false, true] as const).map((seeded) =>
  maker.ciphertext([0.5, -0.25, 1], { seeded, compression: "none" }),
);
const specimens: readonly Specimen[] = [
  ...[false, true].flatMap((seeded, i): Specimen[] => {
    const form = seeded ? "with seeds" : "whole";
    return [
      {
        kind: "RelinKeys",
        name: `RelinKeys ${form}`,
        check: (data) => checkRelinKeys(levels, data),
        write: (compression) => keys.relinKeys({ compression, seeded }),
        reasons: KEY_REASONS,
      },
      {
        kind: "GaloisKeys",
        name: `GaloisKeys ${form}`,
        check: (data) => checkGaloisKeys(levels, data),
        write: (compression) => keys.galoisKeys({ compression, seeded }),
        reasons: [...KEY_REASONS, "ROTATION_KEYS_MISSING"],
      },
      {
        kind: "Ciphertext",
        name: `a Ciphertext ${form}`,
        check: checkFresh,
        write: (compression) => compressed(freshPlain[i]!, compression),
        reasons: CIPHERTEXT_REASONS,
      },
    ];
  }),
  {
    kind: "PublicKey",
    name: "a PublicKey",
    check: (data) => {
      checkPublicKey(levels, data);
    },
    write: (compression) => maker.publicKey(compression),
    reasons: KEY_REASONS,
  },
];

const refusedWith =
  (reasons: readonly string[]) =>
  (error: unknown): boolean =>
    error instanceof FheError && reasons.includes(error.reason);

/** Fails unless the bytes are refused for one of the specimen's reasons. */
function assertRefused({ check, reasons }: Specimen, data: Uint8Array, message: string): void {
  assert.throws(() => check(data), refusedWith(reasons), message);
}

/** An uncompressed object, compressed as SEAL does it: all that follows the header. */
function compressed(plain: Buffer, compression: Compression): Buffer {
  if (compression === "none") return plain;
  const body = plain.subarray(16);
  const bytes = honest(
    Buffer.concat([plain.subarray(0, 16), compression === "zlib" ? deflateSync(body) : zstdCompressSync(body)]),
  );
  bytes.writeUInt8(compression === "zlib" ? 1 : 2, 5);
  return bytes;
}

/** What a check gives, as values that compare by content. */
function comparable(result: unknown): unknown {
  if (result instanceof Uint8Array) return Buffer.from(result);
  if (typeof result !== "object" || result === null) return result;
  return Object.fromEntries(Object.entries(result).map(([key, value]) => [key, comparable(value)]));
}

/** The same bytes with their length in the header. */
function honest(bytes: Uint8Array): Buffer {
  const copy = Buffer.from(bytes);
  if (copy.length >= 16) copy.writeBigUInt64LE(BigInt(copy.length), 8);
  return copy;
}

/**
 * Where an uncompressed object's structure is: bytes that mean something, and among them the places of u64 counts and
 * lengths.
 */
interface Structure {
  readonly sense: number[];
  readonly counts: number[];
}

const upTo = (start: number, length: number): number[] => Array.from({ length }, (_, i) => start + i);

/** Walked by the layout that seal-bytes.ts writes down, independently of its reader. */
function structureOf({ kind, write }: Specimen): Structure {
  const bytes = write("none");
  const found: Structure = { sense: [], counts: [] };
  const u64 = (at: number): number => {
    found.counts.push(at);
    found.sense.push(...upTo(at, 8));
    return Number(bytes.readBigUInt64LE(at));
  };
  const header = (at: number): number => {
    // Neither the minor version nor the two reserved bytes.
    found.sense.push(at, at + 1, at + 2, at + 3, at + 5);
    return at + u64(at + 8);
  };
  const ciphertext = (start: number): number => {
    const end = header(start);
    found.sense.push(...upTo(start + 16, 33), ...upTo(start + 73, 8));
    for (const at of [49, 57, 65, 81]) u64(start + at);
    header(start + 89);
    const seedAt = start + 113 + 8 * u64(start + 105);
    if (seedAt < end) header(seedAt);
    return end;
  };
  if (kind === "Ciphertext" || kind === "PublicKey") {
    assert.equal(ciphertext(0), bytes.length);
    return found;
  }
  header(0);
  found.sense.push(...upTo(16, 32));
  let at = 56;
  for (let left = u64(48); left > 0; left--) {
    let parts = Number(bytes.readBigUInt64LE(at));
    // Galois keys have thousands of places without a key: one in 64 of their counts is enough.
    if (parts > 0 || left % 64 === 0) u64(at);
    for (at += 8; parts > 0; parts--) at = ciphertext(at);
  }
  assert.equal(at, bytes.length);
  return found;
}

for (const specimen of specimens) {
  const { kind, name, check, write } = specimen;
  const plain = write("none");
  const structure = structureOf(specimen);

  test(`${name} of SEAL's is taken in all three compressions, as the same`, () => {
    const [expected, ...others] = COMPRESSIONS.map((compression) => check(write(compression))).map(comparable);
    for (const other of others) assert.deepEqual(other, expected);
  });

  test(`${name} with any byte of its structure changed is refused`, () => {
    const changed = Buffer.from(plain);
    for (const at of structure.sense) {
      const good = changed[at]!;
      for (const flip of [1, 2, 128, 255, 1 + Math.floor(255 * Math.random())]) {
        changed[at] = good ^ flip;
        assertRefused(specimen, changed, `byte ${at} with ${flip}`);
      }
      changed[at] = good;
    }
  });

  test(`${name} with a count or length of anything else, up to 2^64 - 1, is refused without an endless loop, and in little memory`, {
    timeout: HANG_MS,
  }, () => {
    const changed = Buffer.from(plain);
    const before = process.memoryUsage.rss();
    for (const at of structure.counts) {
      const good = changed.readBigUInt64LE(at);
      for (const value of [
        0n,
        1n,
        2n,
        3n,
        good - 1n,
        good + 1n,
        good * 2n,
        1n << 20n,
        1n << 31n,
        1n << 32n,
        1n << 40n,
        (1n << 53n) - 1n,
        1n << 53n,
        1n << 60n,
        1n << 63n,
        (1n << 64n) - 1n,
      ]) {
        if (value === good || value < 0n) continue;
        changed.writeBigUInt64LE(value, at);
        assertRefused(specimen, changed, `${value} at ${at}`);
      }
      changed.writeBigUInt64LE(good, at);
    }
    assert.ok(process.memoryUsage.rss() - before < 64 << 20);
  });

  test(`${name} that is cut at any place is refused, whatever length its header claims`, () => {
    const places = fc.oneof(fc.nat(plain.length - 1), fc.constantFrom(...structure.sense));
    fc.assert(
      fc.property(fc.constantFrom(...COMPRESSIONS), places, (compression, place) => {
        const bytes = write(compression);
        const cut = bytes.subarray(0, place % bytes.length);
        assertRefused(specimen, cut, `${compression} ${cut.length}`);
        assertRefused(specimen, honest(cut), `${compression} ${cut.length}, in its header too`);
      }),
      { numRuns: 20 },
    );
  });

  test(`${name} that anything follows is refused`, () => {
    for (const more of [Buffer.alloc(1), Buffer.alloc(8), maker.encryptionParameters("none")])
      assertRefused(specimen, honest(Buffer.concat([plain, more])), `${more.length}`);
  });

  test(`${name} with a damaged compressed stream is refused, or only its residues changed`, () => {
    fc.assert(
      fc.property(
        fc.constantFrom("zlib", "zstd"),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.integer({ min: 1, max: 255 }),
        (compression, place, flip) => {
          const bytes = Buffer.from(write(compression));
          bytes[16 + Math.floor(place * (bytes.length - 16))]! ^= flip;
          try {
            check(bytes);
          } catch (error) {
            assert.ok(refusedWith(specimen.reasons)(error), String(error));
            return;
          }
          const body = bytes.subarray(16);
          const damaged = Buffer.concat([
            plain.subarray(0, 16),
            compression === "zlib" ? inflateSync(body) : zstdDecompressSync(body),
          ]);
          assert.ok(structure.sense.every((at) => damaged[at] === plain[at]));
        },
      ),
      { numRuns: 20 },
    );
  });

  test(`other bytes in the place of ${name} are refused`, () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 500 }),
        fc.nat(3),
        fc.nat(structure.sense.length - 1),
        (body, compression, k) => {
          const headed = honest(
            Buffer.concat([Buffer.of(0x5e, 0xa1, 16, 4, 1, compression, 0, 0), Buffer.alloc(8), body]),
          );
          const begun = honest(Buffer.concat([plain.subarray(0, structure.sense[k]), body]));
          for (const bytes of [Buffer.from(body), headed, begun])
            assertRefused(specimen, bytes, bytes.subarray(0, 64).toString("hex"));
        },
      ),
      { numRuns: 100 },
    );
    for (const other of specimens.filter((candidate) => candidate.kind !== kind)) {
      for (const compression of COMPRESSIONS) assertRefused(specimen, other.write(compression), other.name);
    }
  });
}

/** A zstd frame that holds other data, which decoders skip. */
function skippable(data: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(0x184d2a50);
  header.writeUInt32LE(data.length, 4);
  return Buffer.concat([header, data]);
}

// What is past the end of a compressed stream is inflated by nobody: a secret key could ride there.
test("anything past the end of a compressed stream is refused", () => {
  const accepted: string[] = [];
  for (const specimen of specimens) {
    for (const compression of ["zlib", "zstd"] as const) {
      for (const [what, more] of [
        ["a byte", Buffer.alloc(1)],
        ["another object", maker.encryptionParameters(compression)],
        ["a frame that decoders skip", skippable(stranger.publicKey())],
      ] as const) {
        const bytes = honest(Buffer.concat([specimen.write(compression), more]));
        if (taken(() => specimen.check(bytes), specimen.reasons))
          accepted.push(`${what} after ${specimen.name} in ${compression}`);
      }
    }
  }
  assert.deepEqual(accepted, []);
});

test("an object of another minor version than SEAL's own is treated alike in all compressions", () => {
  for (const { name, check, write, reasons } of specimens) {
    for (const minor of [0, 2]) {
      const outcomes = COMPRESSIONS.map((compression) => {
        const bytes = Buffer.from(write(compression));
        bytes.writeUInt8(minor, 4);
        return taken(() => {
          const result = check(bytes);
          if (result instanceof Uint8Array) evaluator.open(result).delete();
        }, reasons);
      });
      assert.equal(new Set(outcomes).size, 1, `${name} of SEAL 4.${minor}: ${outcomes.join(", ")}`);
    }
  }
});

function taken(attempt: () => unknown, reasons: readonly string[]): boolean {
  try {
    attempt();
    return true;
  } catch (error) {
    assert.ok(refusedWith(reasons)(error), String(error));
    return false;
  }
}
