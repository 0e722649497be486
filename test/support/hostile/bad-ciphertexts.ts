// Ciphertexts that a server must refuse, with the reason it must give. Each is made from a good one of the gallery's
// key.
import { createHash } from "node:crypto";
import {
  CIPHERTEXT_WORDS_AT,
  PACKED_POLYNOMIAL_BYTES,
  pack,
  sealEnvelope,
  unpack,
  words,
} from "../independent/independent-crypto.ts";
import type { Form, IndependentKey } from "../independent/independent-crypto.ts";
import { encodingOf } from "../independent/gallery-fixture.ts";
import type { CiphertextMessage, TestGallery } from "../independent/gallery-fixture.ts";
import { DEGREE } from "../../../scripts/vectors/independent-ring.ts";

export interface BadCiphertext {
  readonly name: string;
  readonly ciphertext: CiphertextMessage | undefined;
  /** ErrorInfo.reason; "ANY" where several are as good. */
  readonly reason: string;
  readonly says: RegExp;
}

const POLYNOMIAL = Array.from({ length: DEGREE }, (_, i) => (i < 128 ? i * 1000 : 0));

/** All of them. `other`: a key of the other parameter set, `bombs`: compressed streams by compression. */
export function badCiphertexts(
  gallery: TestGallery,
  other: IndependentKey,
  bombs: Readonly<Record<"zlib" | "zstd", Buffer>>,
): BadCiphertext[] {
  return [
    ...damaged(gallery),
    ...outOfRange(gallery),
    ...foreign(gallery, other),
    ...oversized(gallery, bombs),
    ...secretKeys(gallery, other),
    ...otherObjects(gallery),
    ...envelopes(gallery),
  ];
}

/** Cut short at every section of the layout, or with flipped bits under the SHA-256 of the good bytes. */
function damaged(gallery: TestGallery): BadCiphertext[] {
  const malformed = { reason: "CIPHERTEXT_MALFORMED", says: /expected|damaged|cut short|with 2 components/ };
  const plain = gallery.key.encrypt(POLYNOMIAL, "none");
  const lengths = [
    0,
    1,
    15,
    16,
    47,
    48,
    49,
    57,
    65,
    73,
    81,
    89,
    97,
    105,
    112,
    113,
    121,
    Math.floor(plain.length / 2),
    plain.length - 8,
    plain.length - 1,
  ];
  const cut = lengths.flatMap((length) => {
    const adjusted = Buffer.from(plain.subarray(0, length));
    if (length >= 16) adjusted.writeBigUInt64LE(BigInt(length), 8);
    return [
      {
        name: `SEAL cut to ${length} bytes`,
        ciphertext: gallery.ciphertext(plain.subarray(0, length), "none"),
        ...malformed,
      },
      {
        name: `SEAL cut to ${length} bytes, with that length in its header`,
        ciphertext: gallery.ciphertext(adjusted, "none"),
        ...malformed,
      },
    ];
  });
  const cutCompressed = (["zlib", "zstd"] as const).flatMap((form) => {
    const data = gallery.key.encrypt(POLYNOMIAL, form);
    return [17, 20, Math.floor(data.length / 2), data.length - 1].map((length) => {
      const adjusted = Buffer.from(data.subarray(0, length));
      adjusted.writeBigUInt64LE(BigInt(length), 8);
      return {
        name: `SEAL ${form} cut to ${length} bytes`,
        ciphertext: gallery.ciphertext(adjusted, form),
        ...malformed,
      };
    });
  });
  const packed = gallery.key.encrypt(POLYNOMIAL);
  const cutPacked = [0, 1, PACKED_POLYNOMIAL_BYTES - 1, packed.length - 1].map((length) => ({
    name: `packed residues cut to ${length} bytes`,
    ciphertext: gallery.ciphertext(packed.subarray(0, length)),
    ...malformed,
  }));
  return [
    ...cut,
    ...cutCompressed,
    ...cutPacked,
    ...flipped(gallery, plain, "none"),
    ...flipped(gallery, packed, "packed"),
  ];
}

function flipped(gallery: TestGallery, good: Buffer, form: Form): BadCiphertext[] {
  return [0, 8, 50, 500, good.length - 1].map((at) => {
    const data = Buffer.from(good);
    data[at]! ^= 1;
    const ciphertext = { ...gallery.ciphertext(data, form), sha256: gallery.ciphertext(good).sha256 };
    return { name: `${form}: a bit of byte ${at} flipped`, ciphertext, reason: "CIPHERTEXT_CORRUPT", says: /SHA-256/i };
  });
}

/** Residues that are none, under their right SHA-256. */
function outOfRange(gallery: TestGallery): BadCiphertext[] {
  const { rings } = gallery.key;
  const residues = unpack(gallery.key.encrypt(POLYNOMIAL));
  return [0, 5000 % residues.length, residues.length - 1].flatMap((index) => {
    const { prime } = rings[Math.floor(index / DEGREE) % rings.length]!;
    const large = (value: bigint): bigint[] => residues.map((residue, i) => (i === index ? value : residue));
    const expected = { reason: "CIPHERTEXT_MALFORMED", says: /prime|residue/ };
    return [
      {
        name: `packed: residue ${index} is its prime`,
        ciphertext: gallery.ciphertext(pack(large(prime))),
        ...expected,
      },
      {
        name: `packed: residue ${index} is 2^30 - 1`,
        ciphertext: gallery.ciphertext(pack(large((1n << 30n) - 1n))),
        ...expected,
      },
      {
        name: `SEAL: residue ${index} is its prime`,
        ciphertext: gallery.ciphertext(gallery.key.sealBytes(large(prime)), "none"),
        ...expected,
      },
      {
        name: `SEAL: residue ${index} has 33 bits`,
        ciphertext: gallery.ciphertext(gallery.key.sealBytes(large(1n << 32n)), "none"),
        ...expected,
      },
      {
        name: `SEAL: residue ${index} has 64 bits`,
        ciphertext: gallery.ciphertext(gallery.key.sealBytes(large((1n << 64n) - 1n)), "none"),
        ...expected,
      },
    ];
  });
}

/** Of another context, of other parameters, or transparent. */
function foreign(gallery: TestGallery, other: IndependentKey): BadCiphertext[] {
  const forms: Form[] = ["packed", "none", "zlib", "zstd"];
  const good = gallery.ciphertext(gallery.key.encrypt(POLYNOMIAL));
  const residues = unpack(good.data);
  const zeroed = (from: number, to: number): bigint[] =>
    residues.map((residue, i) => (i >= from && i < to ? 0n : residue));
  const half = residues.length / 2;
  const transparent = { reason: "CIPHERTEXT_TRANSPARENT", says: /transparent/ };
  return [
    {
      name: "another context's id",
      ciphertext: { ...good, context_id: other.contextId },
      reason: "CONTEXT_MISMATCH",
      says: /context/,
    },
    { name: "no context id", ciphertext: { ...good, context_id: "" }, reason: "CONTEXT_MISMATCH", says: /context/ },
    ...forms.map((form) => ({
      name: `${form}: other parameters`,
      ciphertext: gallery.ciphertext(
        other.encrypt(
          POLYNOMIAL.map((x) => x % 1000),
          form,
        ),
        form,
      ),
      reason: "PARAMETER_SET_MISMATCH",
      says: new RegExp(gallery.key.set),
    })),
    {
      name: "packed: second component zero",
      ciphertext: gallery.ciphertext(pack(zeroed(half, 2 * half))),
      ...transparent,
    },
    {
      name: "SEAL: second component zero",
      ciphertext: gallery.ciphertext(gallery.key.sealBytes(zeroed(half, 2 * half)), "none"),
      ...transparent,
    },
    { name: "all zero", ciphertext: gallery.ciphertext(pack(zeroed(0, 2 * half))), ...transparent },
    {
      name: "second component zero modulo one prime",
      ciphertext: gallery.ciphertext(pack(zeroed(half, half + DEGREE))),
      ...transparent,
    },
  ];
}

/** Longer than any ciphertext, at once or after decompression, under either label. */
function oversized(gallery: TestGallery, bombs: Readonly<Record<"zlib" | "zstd", Buffer>>): BadCiphertext[] {
  const expected = { reason: "CIPHERTEXT_TOO_LARGE", says: /bytes/ };
  const large = Buffer.alloc((1 << 20) + 16);
  gallery.key.encrypt(POLYNOMIAL, "none").copy(large);
  large.writeBigUInt64LE(BigInt(large.length), 8);
  const refused = { reason: "ANY", says: /bytes|expected/ };
  return [
    ...(["zlib", "zstd"] as const).flatMap((compression) => {
      const data = sealEnvelope(compression, bombs[compression]);
      const nested = nestedBomb(gallery.key, data);
      return [
        { name: `a ${compression} bomb`, ciphertext: gallery.ciphertext(data, compression), ...expected },
        { name: `a ${compression} bomb labelled as packed residues`, ciphertext: gallery.ciphertext(data), ...refused },
        {
          name: `a ${compression} bomb inside an uncompressed secret key`,
          ciphertext: gallery.ciphertext(nested, "none"),
          ...refused,
        },
        {
          name: `a ${compression} bomb inside a secret key labelled as packed residues`,
          ciphertext: gallery.ciphertext(nested),
          ...refused,
        },
      ];
    }),
    { name: "SEAL of more than 1 MiB", ciphertext: gallery.ciphertext(large, "none"), ...expected },
    { name: "packed residues of more than 1 MiB", ciphertext: gallery.ciphertext(large), ...expected },
  ];
}

/** SEAL writes a key's words as an object of their own, with a header that may ask for decompression again. */
function nestedBomb(key: IndependentKey, envelope: Buffer): Buffer {
  const data = Buffer.concat([key.secretKeyBytes("none").subarray(0, 64), envelope]);
  data.writeBigUInt64LE(BigInt(data.length), 8);
  return data;
}

function secretKeys(gallery: TestGallery, other: IndependentKey): BadCiphertext[] {
  const expected = { reason: "SECRET_KEY_REFUSED", says: /secret key/ };
  return [gallery.key, other].flatMap((key) =>
    (["none", "zlib", "zstd"] as const).flatMap((compression) =>
      [compression, "packed" as const].map((form) => ({
        name: `a secret key of ${key.set}, ${compression}, labelled ${encodingOf(form)}`,
        ciphertext: gallery.ciphertext(key.secretKeyBytes(compression), form),
        ...expected,
      })),
    ),
  );
}

/** SEAL objects that are no fresh, whole ciphertext at the data level, in NTT form, of scale 1. */
function otherObjects(gallery: TestGallery): BadCiphertext[] {
  const { key } = gallery;
  const expected = { reason: "CIPHERTEXT_MALFORMED", says: /expected|not a SEAL ciphertext/ };
  const good = key.encrypt(POLYNOMIAL, "none");
  const residues = words(good, CIPHERTEXT_WORDS_AT);
  const patched = (change: (data: Buffer) => unknown): CiphertextMessage => {
    const data = Buffer.from(good);
    change(data);
    return gallery.ciphertext(data, "none");
  };
  const third = residues.slice(0, residues.length / 2);
  return [
    ...(["none", "zlib", "zstd"] as const).map((form) => ({
      name: `seeded, ${form}`,
      ciphertext: gallery.ciphertext(key.encryptSeeded(POLYNOMIAL, form), form),
      ...expected,
    })),
    { name: "one component", ciphertext: gallery.ciphertext(key.sealBytes(third), "none"), ...expected },
    {
      name: "three components",
      ciphertext: gallery.ciphertext(key.sealBytes([...residues, ...third]), "none"),
      ...expected,
    },
    { name: "packed, three components", ciphertext: gallery.ciphertext(pack([...residues, ...third])), ...expected },
    { name: "not in NTT form", ciphertext: patched((data) => data.writeUInt8(0, 48)), ...expected },
    {
      name: "components said to be 2^63",
      ciphertext: patched((data) => data.writeBigUInt64LE(1n << 63n, 49)),
      ...expected,
    },
    { name: "degree said to be 8192", ciphertext: patched((data) => data.writeBigUInt64LE(8192n, 57)), ...expected },
    { name: "primes said to be 3", ciphertext: patched((data) => data.writeBigUInt64LE(3n, 65)), ...expected },
    { name: "scale 2", ciphertext: patched((data) => data.writeDoubleLE(2, 73)), ...expected },
    { name: "scale NaN", ciphertext: patched((data) => data.writeDoubleLE(NaN, 73)), ...expected },
    { name: "correction factor 2", ciphertext: patched((data) => data.writeBigUInt64LE(2n, 81)), ...expected },
    { name: "nested length 2^60", ciphertext: patched((data) => data.writeBigUInt64LE(1n << 60n, 97)), ...expected },
    { name: "word count 2^60", ciphertext: patched((data) => data.writeBigUInt64LE(1n << 60n, 105)), ...expected },
    { name: "another magic", ciphertext: patched((data) => data.writeUInt8(0x5f, 0)), ...expected },
    { name: "SEAL version 3", ciphertext: patched((data) => data.writeUInt8(3, 3)), ...expected },
    { name: "compression 7", ciphertext: patched((data) => data.writeUInt8(7, 5)), ...expected },
    {
      name: "zlib said, none there",
      ciphertext: patched((data) => data.writeUInt8(1, 5)),
      ...expected,
      says: /damaged/,
    },
    {
      name: "random bytes",
      ciphertext: gallery.ciphertext(createHash("sha512").update("noise").digest(), "none"),
      ...expected,
    },
    {
      name: "packed residues labelled SEAL",
      ciphertext: gallery.ciphertext(key.encrypt(POLYNOMIAL), "none"),
      ...expected,
    },
    { name: "SEAL labelled packed residues", ciphertext: gallery.ciphertext(good), ...expected },
  ];
}

/** Wrong around the bytes. */
function envelopes(gallery: TestGallery): BadCiphertext[] {
  const good = gallery.ciphertext(gallery.key.encrypt(POLYNOMIAL));
  const invalid = { reason: "FIELD_INVALID" };
  return [
    { name: "no ciphertext", ciphertext: undefined, ...invalid, says: /required/ },
    ...["CIPHERTEXT_ENCODING_UNSPECIFIED", 4, 99, -1].map((encoding) => ({
      name: `encoding ${encoding}`,
      ciphertext: { ...good, encoding: encoding as string },
      ...invalid,
      says: /CIPHERTEXT_ENCODING_SEAL/,
    })),
    ...[0, 31, 33].map((length) => ({
      name: `a SHA-256 of ${length} bytes`,
      ciphertext: { ...good, sha256: Buffer.alloc(length) },
      ...invalid,
      says: /32 bytes/,
    })),
  ];
}
