// Ciphertexts that a server must refuse under a pairwise context, with the reason it must give. Each is made from a
// good one.
import type { CiphertextMessage } from "../independent/gallery-fixture.ts";
import { CIPHERTEXT_WORDS_AT, sealEnvelope } from "../independent/independent-crypto.ts";
import { secretForms, textForms } from "./pairwise-bad-uploads.ts";
import { ENCODINGS } from "../independent/pairwise-context.ts";
import type { TestContext } from "../independent/pairwise-context.ts";
import { COMPRESSIONS } from "../independent/tenseal-maker.ts";
import type { TensealMaker } from "../independent/tenseal-maker.ts";
import { encodeTensealVector, rawBytesField } from "../../../scripts/dev/tenseal-wire.ts";

interface BadCiphertext {
  readonly name: string;
  readonly ciphertext: CiphertextMessage | undefined;
  /** ErrorInfo.reason. */
  readonly reason: string;
  readonly says: RegExp;
}

/** What the bad ones are made of. */
interface Ingredients {
  readonly context: TestContext;
  /** Of the vector that the bad ones should be. */
  readonly vector: readonly number[];
  /** A key of other parameters, and one of the packed scheme's. */
  readonly other: TensealMaker;
  readonly packedSecret: (compression: "none" | "zlib" | "zstd") => Buffer;
  /** Compressed streams by compression. */
  readonly bombs: Readonly<Record<"zlib" | "zstd", Buffer>>;
  /** An answer of the server, as SEAL's bytes. */
  readonly answer: Buffer;
}

const MALFORMED = { reason: "CIPHERTEXT_MALFORMED", says: /./ } as const;

export function badPairwiseCiphertexts(ingredients: Ingredients): BadCiphertext[] {
  return [
    ...secretKeys(ingredients),
    ...damaged(ingredients),
    ...patched(ingredients),
    ...foreign(ingredients),
    ...oversized(ingredients),
    ...badVectors(ingredients),
    ...envelopes(ingredients),
  ];
}

/** Secret keys in every place that a ciphertext's bytes have. */
function secretKeys({ context, other, packedSecret }: Ingredients): BadCiphertext[] {
  const { maker } = context;
  const keys = [
    ...secretForms("the same parameters", (compression) => maker.secretKey(compression)),
    ...secretForms("other parameters", (compression) => other.secretKey(compression)).slice(1, 4),
    ...secretForms("the packed scheme", packedSecret).slice(0, 1),
  ];
  const contexts = [{ name: "a TenSEAL context with its secret key", bytes: maker.secretContext() }];
  const inVectors = keys.map(({ name, bytes }) => ({ name: `${name}, in a TenSEAL vector`, bytes: vectorOf(bytes) }));
  return [
    ...keys,
    ...inVectors,
    ...[...contexts, ...inVectors.slice(0, 1)].flatMap((form) => [form, ...textForms(form)]),
  ].flatMap(({ name, bytes }) =>
    ENCODINGS.map((encoding) => ({
      name: `${name}, labelled ${encoding}`,
      ciphertext: context.envelope(bytes, encoding),
      reason: "SECRET_KEY_REFUSED",
      says: /secret key/,
    })),
  );
}

/** Cut short, in either encoding; or with a flipped bit under the SHA-256 of the good bytes. */
function damaged({ context, vector }: Ingredients): BadCiphertext[] {
  const plain = context.maker.ciphertext(vector, { compression: "none" });
  const lengths = [
    0,
    1,
    15,
    16,
    47,
    49,
    57,
    65,
    73,
    81,
    89,
    105,
    113,
    Math.floor(plain.length / 2),
    plain.length - 8,
    plain.length - 1,
  ];
  const cut = lengths.flatMap((length) =>
    [plain.subarray(0, length), withLength(plain.subarray(0, length))].flatMap((bytes, k) => [
      {
        name: `SEAL cut to ${length} bytes${k === 1 ? ", with that length in its header" : ""}`,
        ciphertext: context.envelope(bytes),
        ...MALFORMED,
      },
      {
        name: `TenSEAL's vector of SEAL cut to ${length} bytes${k === 1 ? ", with that length in its header" : ""}`,
        ciphertext: context.envelope(vectorOf(bytes, vector.length), "TENSEAL_CKKS_VECTOR"),
        ...MALFORMED,
      },
    ]),
  );
  const compressed = (["zlib", "zstd"] as const).flatMap((compression) =>
    [false, true].map((seeded) => {
      const bytes = context.maker.ciphertext(vector, { compression, seeded });
      return {
        name: `${compression}, ${seeded ? "seeded" : "whole"}, cut in half`,
        ciphertext: context.envelope(withLength(bytes.subarray(0, bytes.length / 2))),
        ...MALFORMED,
      };
    }),
  );
  const flipped = ENCODINGS.map((encoding) => {
    const good = context.vector(vector, encoding);
    const data = Buffer.from(good.data);
    data[data.length - 100]! ^= 1;
    return {
      name: `${encoding}: a bit flipped`,
      ciphertext: { ...good, data },
      reason: "CIPHERTEXT_CORRUPT",
      says: /SHA-256/,
    };
  });
  return [...cut, ...compressed, ...flipped];
}

/** One field of the layout wrong each. */
function patched({ context, vector }: Ingredients): BadCiphertext[] {
  const { degree, primeBits } = context.maker.parameters;
  const good = context.maker.ciphertext(vector, { compression: "none" });
  const seeded = context.maker.ciphertext(vector, { compression: "none", seeded: true });
  const component = 8 * degree * (primeBits.length - 1);
  const of = (name: string, change: (bytes: Buffer) => unknown, from = good): BadCiphertext => {
    const bytes = Buffer.from(from);
    change(bytes);
    return { name, ciphertext: context.envelope(bytes), ...MALFORMED };
  };
  const zeroed = (from: number, to: number): BadCiphertext => ({
    ...of("", (bytes) => bytes.fill(0, CIPHERTEXT_WORDS_AT + from, CIPHERTEXT_WORDS_AT + to)),
    reason: "CIPHERTEXT_TRANSPARENT",
    says: /transparent/,
  });
  return [
    of("not in NTT form", (bytes) => bytes.writeUInt8(0, 48)),
    of("one component", (bytes) => bytes.writeBigUInt64LE(1n, 49)),
    of("three components", (bytes) => bytes.writeBigUInt64LE(3n, 49)),
    of("2^63 components", (bytes) => bytes.writeBigUInt64LE(1n << 63n, 49)),
    of("a degree of 8192", (bytes) => bytes.writeBigUInt64LE(8192n, 57)),
    of("one prime", (bytes) => bytes.writeBigUInt64LE(1n, 65)),
    of("twice the scale", (bytes) => bytes.writeDoubleLE(2 * context.maker.parameters.scale, 73)),
    of("a scale of 1", (bytes) => bytes.writeDoubleLE(1, 73)),
    of("a scale that is no number", (bytes) => bytes.writeDoubleLE(NaN, 73)),
    of("a correction factor of 2", (bytes) => bytes.writeBigUInt64LE(2n, 81)),
    of("words that ask to be decompressed", (bytes) => bytes.writeUInt8(2, 94)),
    of("2^60 words", (bytes) => bytes.writeBigUInt64LE(1n << 60n, 105)),
    of("a residue beyond its prime", (bytes) => bytes.writeBigUInt64LE((1n << 36n) + 7n, CIPHERTEXT_WORDS_AT)),
    of("a residue of 64 bits", (bytes) => bytes.writeBigUInt64LE((1n << 64n) - 1n, good.length - 8)),
    of("another magic", (bytes) => bytes.writeUInt8(0, 0)),
    of("SEAL's version 3", (bytes) => bytes.writeUInt8(3, 3)),
    of("compression 7", (bytes) => bytes.writeUInt8(7, 5)),
    of("zlib said, none there", (bytes) => bytes.writeUInt8(1, 5)),
    of("a seed of an unknown kind", (bytes) => bytes.writeUInt8(9, seeded.length - 65), seeded),
    of("a seed cut short", (bytes) => bytes.writeBigUInt64LE(BigInt(seeded.length - 8), 8), seeded.subarray(0, -8)),
    { ...zeroed(component, 2 * component), name: "a second component of zeros" },
    { ...zeroed(component, component + 8 * degree), name: "a second component of zeros modulo one prime" },
    { ...zeroed(0, 2 * component), name: "all zeros" },
  ];
}

/** Another context's, of other parameters, computed with, or of another scheme. */
function foreign({ context, vector, other, answer }: Ingredients): BadCiphertext[] {
  const elsewhere = { reason: "PARAMETER_SET_MISMATCH", says: /degree.*primes/ } as const;
  const good = context.vector(vector);
  return [
    ...COMPRESSIONS.map((compression) => ({
      name: `of other parameters, ${compression}`,
      ciphertext: context.envelope(other.ciphertext(vector, { compression })),
      ...elsewhere,
    })),
    {
      name: "a TenSEAL vector of other parameters",
      ciphertext: context.envelope(other.vector(vector), "TENSEAL_CKKS_VECTOR"),
      ...elsewhere,
    },
    { name: "an answer, which was computed with", ciphertext: context.envelope(answer), ...elsewhere },
    {
      name: "encrypted at half the scale",
      ciphertext: context.vector(vector, "SEAL", { scale: context.maker.parameters.scale / 2 }),
      ...MALFORMED,
      says: /scale/,
    },
    ...(["publicKey", "encryptionParameters"] as const).map((kind) => ({
      name: `a ${kind}`,
      ciphertext: context.envelope(context.maker[kind]("none")),
      reason: "ANY",
      says: /./,
    })),
    {
      name: "labelled as packed residues",
      ciphertext: { ...good, encoding: "CIPHERTEXT_ENCODING_PACKED_RESIDUES" },
      reason: "SCHEME_MISMATCH",
      says: /scheme/,
    },
    {
      name: "SEAL labelled as TenSEAL's vector",
      ciphertext: context.envelope(good.data, "TENSEAL_CKKS_VECTOR"),
      ...MALFORMED,
    },
    {
      name: "TenSEAL's vector labelled SEAL",
      ciphertext: context.envelope(context.maker.vector(vector)),
      ...MALFORMED,
    },
    ...ENCODINGS.flatMap((encoding) =>
      textForms({ name: `base64 of a good one, ${encoding}`, bytes: context.vector(vector, encoding).data }).map(
        ({ name, bytes }) => ({
          name,
          ciphertext: context.envelope(bytes, encoding),
          ...MALFORMED,
          says: /base64.*decode/,
        }),
      ),
    ),
  ];
}

/** Longer than any ciphertext, at once or after decompression. */
function oversized({ context, bombs }: Ingredients): BadCiphertext[] {
  const large = withLength(
    Buffer.concat([context.maker.ciphertext([1], { compression: "none" }), Buffer.alloc(1_900_000)]),
  );
  const tooLarge = { reason: "CIPHERTEXT_TOO_LARGE", says: /bytes/ } as const;
  const bombed = (["zlib", "zstd"] as const).map((compression) => ({
    name: `a ${compression} bomb`,
    bytes: sealEnvelope(compression, bombs[compression]),
  }));
  return [
    ...bombed.map(({ name, bytes }) => ({ name, ciphertext: context.envelope(bytes), ...tooLarge })),
    ...bombed.map(({ name, bytes }) => ({
      name: `${name} in a TenSEAL vector`,
      ciphertext: context.envelope(vectorOf(bytes), "TENSEAL_CKKS_VECTOR"),
      ...tooLarge,
    })),
    { name: "more than 1,900,000 bytes", ciphertext: context.envelope(large), ...tooLarge },
  ];
}

/** TenSEAL's vectors that are none, or not of one ciphertext. */
function badVectors({ context, vector }: Ingredients): BadCiphertext[] {
  const seal = context.maker.ciphertext(vector);
  const good = vectorOf(seal, vector.length);
  const of = (name: string, bytes: Buffer, says = /./): BadCiphertext => ({
    name: `TenSEAL's vector ${name}`,
    ciphertext: context.envelope(bytes, "TENSEAL_CKKS_VECTOR"),
    reason: "CIPHERTEXT_MALFORMED",
    says,
  });
  return [
    of("without anything in it", Buffer.alloc(0), /empty|CKKSVectorProto/),
    of("without a ciphertext", encodeTensealVector({ sizes: [vector.length], ciphertexts: [] }), /no ciphertext/),
    of("without a size", encodeTensealVector({ sizes: [], ciphertexts: [seal] }), /size/),
    of("of size 0", encodeTensealVector({ sizes: [0], ciphertexts: [seal] }), /size/),
    of(
      "of two ciphertexts",
      encodeTensealVector({ sizes: [vector.length, vector.length], ciphertexts: [seal, seal] }),
      /2 ciphertexts/,
    ),
    of("of two sizes", encodeTensealVector({ sizes: [1, vector.length], ciphertexts: [seal] }), /size/),
    of("cut in half", good.subarray(0, good.length / 2)),
    of("with a field that TenSEAL does not have", Buffer.concat([good, rawBytesField(7, Buffer.alloc(2000, 3))])),
    of("that is a context", context.maker.publicContext(context.maker.makeKeys([1]))),
    of("that is text", Buffer.from("not a vector")),
  ];
}

/** Wrong around the bytes. */
function envelopes({ context, vector }: Ingredients): BadCiphertext[] {
  const good = context.vector(vector);
  const invalid = { reason: "FIELD_INVALID" } as const;
  return [
    { name: "no ciphertext", ciphertext: undefined, ...invalid, says: /required/ },
    ...["CIPHERTEXT_ENCODING_UNSPECIFIED", 99, -1].map((encoding) => ({
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

function vectorOf(ciphertext: Buffer, size = 4): Buffer {
  return encodeTensealVector({ sizes: [size], ciphertexts: [ciphertext], scale: 2 ** 31.5 });
}

/** With its own length in its header, if it has one. */
function withLength(bytes: Buffer): Buffer {
  const adjusted = Buffer.from(bytes);
  if (adjusted.length >= 16) adjusted.writeBigUInt64LE(BigInt(adjusted.length), 8);
  return adjusted;
}
