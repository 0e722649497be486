import { createHash } from "node:crypto";
import { FheError } from "../errors.ts";
import { HEADER_BYTES, PARMS_ID_BYTES, inflateSeal, writeHeader } from "../seal/seal-bytes.ts";
import type { SealObjectLimits } from "../seal/seal-bytes.ts";
import { hidesNothing, isTwoComponents } from "./fresh-ciphertext.ts";
import type { PairwiseLevels } from "./levels.ts";
import { allRotationSteps, galoisKeyIndex, rotationKeysMissing } from "./rotations.ts";
import { SealCursor } from "../seal/seal-cursor.ts";
import type { CiphertextSpan } from "../seal/seal-cursor.ts";

/** Keys as bytes that may be shown to SEAL: uncompressed, with no key that the server has no use for. */
export interface EvaluationKeys {
  /** SEAL's RelinKeys: of the square of the secret. */
  readonly relinKeys: Uint8Array;
  /** SEAL's GaloisKeys: of rotations to the left by powers of two. */
  readonly galoisKeys: Uint8Array;
}

/** Keys from outside that are laid out as SEAL lays out keys of the context; residues are not looked at. */
export interface CheckedKeys {
  /** What is of use of them, as it may be shown to SEAL. */
  readonly bytes: Uint8Array;
  /** SHA-256, as 64 lowercase hexadecimal digits, of the keys as uploaded, uncompressed: part of the context id. */
  readonly sha256: string;
}

/** Galois keys that were checked, and the rotations that they are for. */
export interface CheckedGaloisKeys extends CheckedKeys {
  /** The rotations to the left that there are keys for, powers of two, ascending. */
  readonly rotationSteps: readonly number[];
}

/** Uncompressed keys are at most twice the largest upload. */
const MAX_KEY_BYTES = 128 * 2 ** 20;

const limitsOf = (what: string): SealObjectLimits => ({
  what,
  maxBytes: MAX_KEY_BYTES,
  malformed: "KEYS_MALFORMED",
  tooLarge: "KEYS_MALFORMED",
});

/**
 * Checks SEAL's RelinKeys from outside, seeded or not, compressed or not, and keeps of them the key for the square of
 * the secret. Whether each residue is below its prime is for SEAL to say. Throws FheError KEYS_MALFORMED or
 * KEYS_MISMATCH (made with other parameters).
 */
export function checkRelinKeys(levels: PairwiseLevels, data: Uint8Array): CheckedKeys {
  const index = readKeys(levels, "RelinKeys object", data);
  if (!index.keys.has(0))
    throw new FheError(
      "KEYS_MALFORMED",
      "the relinearization keys are empty: expected those for the square of the secret",
    );
  return { bytes: select(levels, index, [0]), sha256: sha256(index.bytes) };
}

/**
 * As {@link checkRelinKeys} for SEAL's GaloisKeys, of which it keeps the rotations that are used. Throws
 * ROTATION_KEYS_MISSING if not even step 1 is there.
 */
export function checkGaloisKeys(levels: PairwiseLevels, data: Uint8Array): CheckedGaloisKeys {
  const { degree } = levels.parameters;
  const steps = allRotationSteps(degree);
  // What TenSEAL writes of a context without them.
  const index = data.length === 0 ? { bytes: data, keys: NO_KEYS } : readKeys(levels, "GaloisKeys object", data);
  const rotationSteps = steps.filter((step) => index.keys.has(galoisKeyIndex(step, degree)));
  if (!rotationSteps.includes(1))
    throw rotationKeysMissing(
      steps.filter((step) => !rotationSteps.includes(step)),
      `vectors of up to ${degree / 2} components need`,
    );
  return {
    bytes: select(
      levels,
      index,
      rotationSteps.map((step) => galoisKeyIndex(step, degree)),
    ),
    sha256: sha256(index.bytes),
    rotationSteps,
  };
}

/**
 * Checks that bytes are a SEAL PublicKey of the context, which the server has no use for. Throws FheError as
 * {@link checkRelinKeys}.
 */
export function checkPublicKey(levels: PairwiseLevels, data: Uint8Array): void {
  const limits = limitsOf("PublicKey object");
  const cursor = new SealCursor(inflateSeal(data, limits), limits);
  checkPart(levels, cursor, "PublicKey object");
}

/**
 * An uncompressed SEAL KSwitchKeys object and where its keys lie, by index: from the first ciphertext of a key to the
 * end of its last.
 */
interface KeyIndex {
  readonly bytes: Uint8Array;
  readonly keys: ReadonlyMap<number, KeySpan>;
}

interface KeySpan {
  readonly start: number;
  readonly end: number;
}

const NO_KEYS: KeyIndex["keys"] = new Map();

// KSwitchKeys: header, parms_id, count u64, and for each index a count u64 of Ciphertexts, 0 where there is no key.
function readKeys(levels: PairwiseLevels, what: string, data: Uint8Array): KeyIndex {
  const limits = limitsOf(what);
  const bytes = inflateSeal(data, limits);
  const cursor = new SealCursor(bytes, limits);
  const end = cursor.begin();
  const parmsId = cursor.parmsId();
  const count = cursor.u64();
  if (count > levels.parameters.degree)
    throw cursor.malformed(`it has ${count} entries: expected at most ${levels.parameters.degree}`);
  if (!Buffer.from(levels.keyParmsId).equals(parmsId)) throw mismatch(what);
  const keys = new Map<number, KeySpan>();
  for (let index = 0; index < count; index++) {
    const parts = cursor.u64();
    const start = cursor.at;
    if (parts === 0) continue;
    if (parts !== partsOf(levels))
      throw cursor.malformed(`a key has ${parts} parts: expected one for each of the ${partsOf(levels)} data primes`);
    for (let part = 0; part < parts; part++) checkPart(levels, cursor, what);
    keys.set(index, { start, end: cursor.at });
  }
  cursor.finish(end);
  return { bytes, keys };
}

function checkPart(levels: PairwiseLevels, cursor: SealCursor, what: string): void {
  const span: CiphertextSpan = cursor.ciphertext();
  if (!Buffer.from(levels.keyParmsId).equals(span.parmsId)) throw mismatch(what);
  if (!isTwoComponents(span, levels.parameters.degree, levels.parameters.primes.length) || span.scale !== 1)
    throw cursor.malformed("a part of a key is not a ciphertext of two components in NTT form over all primes");
  if (hidesNothing(cursor.bytes, span))
    throw cursor.malformed("a part of a key hides nothing: whoever reads it reads the secret key; renew the key");
}

/** Ciphertexts of a key: one for each data prime. */
function partsOf({ parameters }: PairwiseLevels): number {
  return parameters.primes.length - 1;
}

function mismatch(what: string): FheError {
  return new FheError(
    "KEYS_MISMATCH",
    `the ${what} was made with other encryption parameters than the context's: upload the keys that belong to them`,
  );
}

/** The same object with those of its keys only. */
function select(levels: PairwiseLevels, { bytes, keys }: KeyIndex, indices: readonly number[]): Uint8Array {
  const selectedKeys = new Map([...keys].filter(([index]) => indices.includes(index)));
  const counts = Math.max(...indices) + 1;
  const keyBytes = selectedKeys.values().reduce((sum, { start, end }) => sum + end - start, 0);
  const size = HEADER_BYTES + PARMS_ID_BYTES + 8 + 8 * counts + keyBytes;
  const selected = new Uint8Array(size);
  const view = new DataView(selected.buffer);
  writeHeader(selected, 0, size);
  selected.set(bytes.subarray(HEADER_BYTES, HEADER_BYTES + PARMS_ID_BYTES), HEADER_BYTES);
  let at = HEADER_BYTES + PARMS_ID_BYTES;
  const write = (count: number): void => {
    view.setBigUint64(at, BigInt(count), true);
    at += 8;
  };
  write(counts);
  for (let index = 0; index < counts; index++) {
    const key = selectedKeys.get(index);
    write(key === undefined ? 0 : partsOf(levels));
    if (key === undefined) continue;
    selected.set(bytes.subarray(key.start, key.end), at);
    at += key.end - key.start;
  }
  return selected;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
