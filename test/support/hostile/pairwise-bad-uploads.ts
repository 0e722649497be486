// Uploads of key material that a server must refuse, with the reason it must give. Each is made from a good one.
import { sealEnvelope } from "../independent/independent-crypto.ts";
import { watchBytes } from "../leak-watch.ts";
import { sealUpload, tensealUpload } from "../independent/pairwise-context.ts";
import type { ContextUpload } from "../independent/pairwise-context.ts";
import { COMPRESSIONS } from "../independent/tenseal-maker.ts";
import type { EvaluationKeys, TensealMaker } from "../independent/tenseal-maker.ts";
import { encodeTensealContext, rawBytesField } from "../../../scripts/dev/tenseal-wire.ts";
import type { TensealContextMessage } from "../../../scripts/dev/tenseal-wire.ts";

export interface BadUpload {
  readonly name: string;
  readonly upload: ContextUpload;
  /** ErrorInfo.reason. */
  readonly reason: string;
  readonly says: RegExp;
}

/** A key that never comes to the server as it should, and its evaluation keys for rotations by 1. */
export interface Stranger {
  readonly maker: TensealMaker;
  readonly keys: EvaluationKeys;
}

/** A named secret key, in some form. */
interface NamedBytes {
  readonly name: string;
  readonly bytes: Buffer;
}

const SECRET = { reason: "SECRET_KEY_REFUSED", says: /secret key/ } as const;
const MALFORMED = { reason: "KEYS_MALFORMED" } as const;

/** Secret keys in every compression, and as base64 text with and without line breaks. */
export function secretForms(name: string, secretKey: (compression: "none" | "zlib" | "zstd") => Buffer): NamedBytes[] {
  const raw = COMPRESSIONS.map((compression) => ({
    name: `a secret key of ${name}, ${compression}`,
    bytes: secretKey(compression),
  }));
  for (const { bytes } of raw) watchBytes(bytes);
  return [...raw, ...textForms(raw[0]!)];
}

/** Base64 text of some bytes: in one line, and in lines of 76 characters. */
export function textForms({ name, bytes }: NamedBytes): NamedBytes[] {
  const text = bytes.toString("base64");
  return [
    { name: `${name}, as base64`, bytes: Buffer.from(text) },
    { name: `${name}, as base64 in lines`, bytes: Buffer.from(`${text.replace(/.{76}/g, "$&\r\n")}\r\n`) },
  ];
}

/** A secret key in every place of an upload that takes bytes. */
export function secretUploads({ maker, keys }: Stranger, secret: NamedBytes): BadUpload[] {
  const good = sealUpload(maker, keys, { compression: "none" });
  const message = maker.publicContextMessage(keys);
  const inPublic = (field: "public_key" | "relin_keys" | "galois_keys"): ContextUpload =>
    tensealOf({ ...message, public_context: { ...message.public_context, [field]: secret.bytes } });
  const places: Record<string, ContextUpload> = {
    "the encryption parameters": { ...good, pairwise: { ...good.pairwise, encryption_parameters: secret.bytes } },
    "the relinearization keys": replaced(good, "SEAL_RELIN_KEYS", secret.bytes),
    "the Galois keys": replaced(good, "SEAL_GALOIS_KEYS", secret.bytes),
    "the whole TenSEAL context": tensealUpload(secret.bytes),
    "TenSEAL's encryption_parameters": tensealOf({ ...message, encryption_parameters: secret.bytes }),
    "TenSEAL's public_key": inPublic("public_key"),
    "TenSEAL's relin_keys": inPublic("relin_keys"),
    "TenSEAL's galois_keys": inPublic("galois_keys"),
  };
  return Object.entries(places).map(([place, upload]) => ({
    name: `${secret.name}, in the place of ${place}`,
    upload,
    ...SECRET,
  }));
}

/** TenSEAL contexts that have `private_context`, whatever is in it. */
export function privateContexts({ maker, keys }: Stranger): BadUpload[] {
  const message = maker.publicContextMessage(keys);
  const whole = encodeTensealContext(message);
  const secret_key = maker.secretKey();
  const contexts: Record<string, Buffer> = {
    "with a private_context": encodeTensealContext({
      ...message,
      private_context: { secret_key, relin_keys_generated: true, galois_keys_generated: true },
    }),
    "as saved with its secret key": maker.secretContext(),
    "with an empty private_context": encodeTensealContext({ ...message, private_context: {} }),
    "with a private_context that has no key": encodeTensealContext({
      ...message,
      private_context: { relin_keys_generated: true },
    }),
    "with a private_context first": Buffer.concat([rawBytesField(3, rawBytesField(1, secret_key)), whole]),
    "with two private_contexts, the last one empty": Buffer.concat([
      whole,
      rawBytesField(3, rawBytesField(1, secret_key)),
      rawBytesField(3, Buffer.alloc(0)),
    ]),
  };
  const raw = Object.entries(contexts).map(([name, bytes]) => ({ name: `a TenSEAL context ${name}`, bytes }));
  return [...raw, ...raw.slice(0, 2).flatMap(textForms)].map(({ name, bytes }) => ({
    name,
    upload: tensealUpload(bytes),
    ...SECRET,
  }));
}

/** TenSEAL contexts that are none, or lack something. */
export function badTensealContexts({ maker, keys }: Stranger): BadUpload[] {
  const message = maker.publicContextMessage(keys);
  const whole = encodeTensealContext(message);
  const without = (...fields: string[]): ContextUpload =>
    tensealOf({
      ...message,
      public_context: Object.fromEntries(
        Object.entries(message.public_context).filter(([name]) => !fields.includes(name)),
      ),
    });
  const harmless = maker.publicKey("none");
  const hidden = maker.secretKey("none");
  return [
    {
      name: "a context cut in half",
      upload: tensealUpload(whole.subarray(0, whole.length / 2)),
      ...MALFORMED,
      says: /TenSEAL/,
    },
    { name: "one byte", upload: tensealUpload(Buffer.of(0xff)), ...MALFORMED, says: /TenSEAL/ },
    { name: "an encrypted vector", upload: tensealUpload(maker.vector([1, 2])), ...MALFORMED, says: /TenSEAL/ },
    { name: "relinearization keys", upload: tensealUpload(keys.relinKeys()), ...MALFORMED, says: /TenSEAL/ },
    {
      name: "a field that TenSEAL does not have",
      upload: tensealUpload(Buffer.concat([whole, rawBytesField(9, harmless)])),
      ...MALFORMED,
      says: /TenSEAL/,
    },
    {
      name: "a field inside that TenSEAL does not have",
      upload: tensealUpload(Buffer.concat([whole, rawBytesField(2, rawBytesField(7, harmless))])),
      ...MALFORMED,
      says: /TenSEAL/,
    },
    {
      name: "a field that comes twice",
      upload: tensealUpload(Buffer.concat([rawBytesField(1, harmless), whole])),
      ...MALFORMED,
      says: /TenSEAL/,
    },
    {
      name: "a secret key in a field that TenSEAL does not have",
      upload: tensealUpload(Buffer.concat([whole, rawBytesField(9, hidden)])),
      ...SECRET,
    },
    {
      name: "a secret key in a field inside that TenSEAL does not have",
      upload: tensealUpload(Buffer.concat([whole, rawBytesField(2, rawBytesField(7, hidden))])),
      ...SECRET,
    },
    {
      name: "a secret key in a field that comes twice",
      upload: tensealUpload(Buffer.concat([rawBytesField(1, hidden), whole])),
      ...SECRET,
    },
    {
      name: "no public_context",
      upload: tensealOf({ encryption_parameters: maker.encryptionParameters() }),
      ...MALFORMED,
      says: /public/,
    },
    { name: "no relinearization keys", upload: without("relin_keys"), ...MALFORMED, says: /relinearization/ },
    {
      name: "no Galois keys",
      upload: without("galois_keys"),
      reason: "ROTATION_KEYS_MISSING",
      says: /\b1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024\b/,
    },
    { name: "no scale", upload: without("scale"), reason: "SCALE_OVERFLOW", says: /scale/ },
    {
      name: "no encryption parameters",
      upload: tensealOf({ public_context: message.public_context }),
      reason: "PARAMETERS_INVALID",
      says: /parameters|SEAL/,
    },
    ...textForms({ name: "a public context", bytes: whole }).map(({ name, bytes }) => ({
      name,
      upload: tensealUpload(bytes),
      ...MALFORMED,
      says: /base64.*decode/,
    })),
    {
      name: "a public key that is none",
      upload: tensealOf({
        ...message,
        public_context: { ...message.public_context, public_key: Buffer.alloc(300, 5) },
      }),
      ...MALFORMED,
      says: /./,
    },
  ];
}

/**
 * Keys that are none, or another context's. `other`: of other parameters, `bombs`: compressed streams by compression.
 */
export function badKeys(
  { maker, keys }: Stranger,
  other: Stranger,
  bombs: Readonly<Record<"zlib" | "zstd", Buffer>>,
): BadUpload[] {
  const good = sealUpload(maker, keys, { compression: "none" });
  const [relin, galois] = [keys.relinKeys({ compression: "none" }), keys.galoisKeys({ compression: "none" })];
  const asRelin = (bytes: Buffer): ContextUpload => replaced(good, "SEAL_RELIN_KEYS", bytes);
  const asGalois = (bytes: Buffer): ContextUpload => replaced(good, "SEAL_GALOIS_KEYS", bytes);
  const mismatch = { reason: "KEYS_MISMATCH", says: /other encryption parameters/ };
  const useless = { reason: "ROTATION_KEYS_MISSING", says: /\b1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024\b/ };
  const damaged = { ...MALFORMED, says: /./ };
  return [
    ...COMPRESSIONS.flatMap((compression) => [
      {
        name: `relinearization keys of other parameters, ${compression}`,
        upload: asRelin(other.keys.relinKeys({ compression })),
        ...mismatch,
      },
      {
        name: `Galois keys of other parameters, ${compression}`,
        upload: asGalois(other.keys.galoisKeys({ compression, seeded: true })),
        ...mismatch,
      },
    ]),
    { name: "Galois keys as relinearization keys", upload: asRelin(galois), ...damaged },
    { name: "relinearization keys as Galois keys", upload: asGalois(relin), ...useless },
    {
      name: "Galois keys of no useful rotation",
      upload: asGalois(maker.makeKeys([3, -1, 100]).galoisKeys()),
      ...useless,
    },
    {
      name: "Galois keys without a rotation by 1",
      upload: asGalois(maker.makeKeys([2, 4]).galoisKeys()),
      reason: "ROTATION_KEYS_MISSING",
      says: /\b1\b/,
    },
    // Ciphertexts live without the reserved prime, so theirs are other parameters.
    {
      name: "a ciphertext as relinearization keys",
      upload: asRelin(maker.ciphertext([1], { compression: "none" })),
      ...mismatch,
    },
    ...(
      [
        ["a public key", maker.publicKey("none")],
        ["encryption parameters", maker.encryptionParameters("none")],
        ["text", Buffer.from("keys?")],
      ] as const
    ).flatMap(([name, bytes]) => [
      { name: `${name} as relinearization keys`, upload: asRelin(bytes), ...damaged },
      { name: `${name} as Galois keys`, upload: asGalois(bytes), ...damaged },
    ]),
    ...[1, 16, 55, 79, 200, Math.floor(relin.length / 2), relin.length - 1].map((length) => ({
      name: `relinearization keys cut to ${length} bytes`,
      upload: asRelin(cut(relin, length)),
      ...damaged,
    })),
    ...damages(relin, maker.parameters.degree).map(({ name, bytes }) => ({
      name: `relinearization keys with ${name}`,
      upload: asRelin(bytes),
      ...damaged,
    })),
    ...textForms({ name: "relinearization keys", bytes: relin }).map(({ name, bytes }) => ({
      name,
      upload: asRelin(bytes),
      ...MALFORMED,
      says: /base64.*decode/,
    })),
    ...(["zlib", "zstd"] as const).map((compression) => ({
      name: `a ${compression} bomb as Galois keys`,
      upload: asGalois(sealEnvelope(compression, bombs[compression])),
      ...damaged,
    })),
  ];
}

// KSwitchKeys: header 16, parms_id 32, count 8, then for each index a count 8 and its ciphertexts of 113 bytes and
// their words.
const FIRST_CIPHERTEXT_AT = 64;
const WORDS_AT = FIRST_CIPHERTEXT_AT + 113;

/** Relinearization keys of three primes, damaged in one place each. */
function damages(good: Buffer, degree: number): NamedBytes[] {
  const patched = (name: string, change: (bytes: Buffer) => unknown): NamedBytes => {
    const bytes = Buffer.from(good);
    change(bytes);
    return { name, bytes };
  };
  const component = 3 * 8 * degree;
  return [
    patched("a residue beyond its prime", (bytes) => bytes.writeBigUInt64LE((1n << 64n) - 1n, WORDS_AT)),
    patched("a second component of zeros, which shows the key", (bytes) =>
      bytes.fill(0, WORDS_AT + component, WORDS_AT + 2 * component),
    ),
    patched("a part of one component", (bytes) => bytes.writeBigUInt64LE(1n, FIRST_CIPHERTEXT_AT + 49)),
    patched("a part that is not in NTT form", (bytes) => bytes.writeUInt8(0, FIRST_CIPHERTEXT_AT + 48)),
    patched("a part that asks to be decompressed", (bytes) => bytes.writeUInt8(2, FIRST_CIPHERTEXT_AT + 5)),
    patched("a part of 2^60 bytes", (bytes) => bytes.writeBigUInt64LE(1n << 60n, FIRST_CIPHERTEXT_AT + 8)),
    patched("2^60 entries", (bytes) => bytes.writeBigUInt64LE(1n << 60n, 48)),
    patched("2^40 parts", (bytes) => bytes.writeBigUInt64LE(1n << 40n, 56)),
    patched("SEAL's version 3", (bytes) => bytes.writeUInt8(3, 3)),
    patched("an unknown compression", (bytes) => bytes.writeUInt8(7, 5)),
    { name: "bytes after their end", bytes: cut(Buffer.concat([good, Buffer.alloc(8, 1)]), good.length + 8) },
  ];
}

/** Encryption parameters, or a scale, that a server must not take. */
export function badParameters({ maker, keys }: Stranger): BadUpload[] {
  const good = sealUpload(maker, keys);
  const { degree, scale } = maker.parameters;
  const primes = [...maker.primes];
  const invalid = { reason: "PARAMETERS_INVALID" } as const;
  const of = (name: string, encryption_parameters: Buffer, says: RegExp): BadUpload => ({
    name,
    upload: { ...good, pairwise: { encryption_parameters, scale } },
    ...invalid,
    says,
  });
  const bytes = maker.encryptionParameters("none");
  return [
    of("no parameters", Buffer.alloc(0), /parameters|SEAL/),
    of("parameters cut short", cut(bytes, bytes.length - 8), /./),
    of("bytes after the parameters", cut(Buffer.concat([bytes, Buffer.alloc(8)]), bytes.length + 8), /./),
    of("text as parameters", Buffer.from("N = 8192"), /SEAL/),
    of("keys as parameters", keys.relinKeys({ compression: "none" }), /./),
    of("parameters of the scheme BFV", sealParameters({ scheme: 1, degree, primes, plainModulus: 65537n }), /CKKS/),
    of("parameters of the scheme BGV", sealParameters({ scheme: 3, degree, primes, plainModulus: 65537n }), /CKKS/),
    of("parameters with a plain modulus", sealParameters({ degree, primes, plainModulus: 65537n }), /plain modulus/),
    of("one prime", sealParameters({ degree, primes: primes.slice(0, 1) }), /three|at least 3/),
    of("two primes", sealParameters({ degree, primes: primes.slice(1) }), /three|at least 3/),
    of("2^60 primes", patchedCount(bytes), /./),
    of("primes that are none", sealParameters({ degree, primes: primes.map((prime) => prime + 2n) }), /prime/),
    of("the same prime three times", sealParameters({ degree, primes: [primes[0]!, primes[0]!, primes[0]!] }), /prime/),
    of(
      "primes of no transform",
      sealParameters({ degree, primes: [68718952441n, 68718952447n, 68718952471n] }),
      /prime/,
    ),
    ...[0, 1, 512, 3000, 65536, 2 ** 40].map((wrong) =>
      of(`a ring degree of ${wrong}`, sealParameters({ degree: wrong, primes }), /1024.*32768/),
    ),
    of("too large a modulus for 128 bits of security", sealParameters({ degree: 1024, primes }), /128 bits/),
    ...[2 ** 40, 2 ** 34, 2 ** 21, 1, 0, -(2 ** 31), NaN, Infinity].map((wrong) => ({
      name: `a scale of ${wrong}`,
      upload: { ...good, pairwise: { ...good.pairwise, scale: wrong } },
      reason: "SCALE_OVERFLOW",
      says: /scale/,
    })),
  ];
}

/**
 * SEAL's EncryptionParameters, uncompressed: header, scheme u8, N u64, count u64, so many moduli, the plain modulus.
 */
export function sealParameters({
  scheme = 2,
  degree,
  primes,
  plainModulus = 0n,
}: {
  scheme?: number;
  degree: number;
  primes: readonly bigint[];
  plainModulus?: bigint;
}): Buffer {
  return sealObject(
    Buffer.of(scheme),
    u64(BigInt(degree)),
    u64(BigInt(primes.length)),
    ...[...primes, plainModulus].map((value) => sealObject(u64(value))),
  );
}

function sealObject(...body: Buffer[]): Buffer {
  const bytes = sealEnvelope("zlib", Buffer.concat(body));
  bytes.writeUInt8(0, 5);
  return bytes;
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(value);
  return bytes;
}

function patchedCount(parameters: Buffer): Buffer {
  const bytes = Buffer.from(parameters);
  bytes.writeBigUInt64LE(1n << 60n, 25);
  return bytes;
}

/** So many bytes of an object, with that length in its header. */
function cut(bytes: Buffer, length: number): Buffer {
  const shorter = Buffer.from(bytes.subarray(0, length));
  if (length >= 16) shorter.writeBigUInt64LE(BigInt(length), 8);
  return shorter;
}

function replaced({ pairwise, uploads }: ContextUpload, material: string, bytes: Buffer): ContextUpload {
  return { pairwise, uploads: uploads.map((upload) => (upload.material === material ? { ...upload, bytes } : upload)) };
}

function tensealOf(message: TensealContextMessage): ContextUpload {
  return tensealUpload(encodeTensealContext(message));
}
