import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { CKKSVectorProto, TenSEALContextProto } from "./gen/tenseal/tenseal.ts";

/** What bytes are, of what TenSEAL writes: a context, a vector of its CKKS, or something else. */
export type TensealMessage =
  | {
      /** A TenSEAL context of any scheme, with or without its secret key. */
      readonly kind: "context";
      /** What was parsed. Its bytes begin as SEAL objects do; nothing else of them is checked. */
      readonly message: TenSEALContextProto;
    }
  | {
      /** A vector of TenSEAL's CKKS. */
      readonly kind: "vector";
      /** What was parsed. Its ciphertexts begin as SEAL objects do; nothing else of them is checked. */
      readonly message: CKKSVectorProto;
    }
  | {
      /** Neither of them. */
      readonly kind: "unknown";
      /** In words that end "the data is ...": "empty", "a TenSEAL tensor (ts.ckks_tensor or ts.bfv_tensor)". */
      readonly seems: string;
    };

interface Field {
  readonly number: number;
  readonly type: WireType;
  /** Of a length-delimited field. */
  readonly bytes: Uint8Array;
}

/** The wire type of every field that a message may have, by its number. */
type Shape = ReadonlyMap<number, WireType>;

const { Varint, Bit64, LengthDelimited } = WireType;
const CONTEXT: Shape = new Map([
  [1, LengthDelimited],
  [2, LengthDelimited],
  [3, LengthDelimited],
  [4, Varint],
]);
const PUBLIC_CONTEXT: Shape = new Map([
  [1, LengthDelimited],
  [2, Varint],
  [3, Bit64],
  [4, LengthDelimited],
  [5, LengthDelimited],
]);
const VECTOR: Shape = new Map([
  [1, LengthDelimited],
  [2, LengthDelimited],
  [3, Bit64],
]);
// CKKSTensorProto and BFVTensorProto, where they have a batch size: otherwise they look like vectors.
const TENSORS: readonly Shape[] = [new Map([...VECTOR, [4, Varint]]), new Map([...VECTOR, [3, Varint]])];
const TENSOR: TensealMessage = { kind: "unknown", seems: "a TenSEAL tensor (ts.ckks_tensor or ts.bfv_tensor)" };
const PUBLIC_CONTEXT_FIELD = 2;
const SIZES_FIELD = 1;
const CIPHERTEXTS_FIELD = 2;

// TenSEAL's messages have five fields at most, and one more for each ciphertext of some 100 KB. Bytes that are
// something else may seem to have millions.
const MAX_FIELDS = 1000;

/**
 * Recognizes what TenSEAL writes by all of its fields: a field that TenSEAL does not have, or has once and is there
 * twice, makes it unknown, so that what is sent on is understood to the last byte. Views of `bytes`, not copies.
 */
export function recognizeTenseal(bytes: Uint8Array): TensealMessage {
  if (bytes.length === 0) return { kind: "unknown", seems: "empty" };
  if (isSealMagic(bytes)) return { kind: "unknown", seems: "a SEAL object by itself, not wrapped as TenSEAL does" };
  const fields = fieldsOf(bytes);
  if (fields === undefined)
    return { kind: "unknown", seems: "not a protobuf message: something else, cut short, or damaged" };
  return (
    asContext(bytes, fields) ??
    asVector(bytes, fields) ??
    asTensor(fields) ?? { kind: "unknown", seems: "a protobuf message, but none of TenSEAL's that fits here" }
  );
}

/** What bytes are, in words that end "the data is ...", with their article: "a TenSEAL context". */
export function describeTenseal(found: TensealMessage): string {
  if (found.kind === "unknown") return found.seems;
  return found.kind === "context" ? "a TenSEAL context" : "an encrypted TenSEAL vector";
}

/** Whether bytes are one SEAL object: its magic number (5E A1), and their own length in the header of 16 bytes. */
export function isWholeSealObject(bytes: Uint8Array): boolean {
  if (bytes.length < 16 || !isSealMagic(bytes)) return false;
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(8, true) === BigInt(bytes.length);
}

/**
 * What the search for secret keys in fhe has to know of TenSEAL. A context with its secret key is one, whatever is
 * in the place of the key.
 */
export const TENSEAL_WRAPPING = { isSecret: isSecretContext, partsOf: embeddedFields } as const;

/** Whether bytes are a TenSEAL context with its secret key. */
export function isSecretContext(bytes: Uint8Array): boolean {
  const found = recognizeTenseal(bytes);
  return found.kind === "context" && found.message.privateContext !== undefined;
}

/**
 * The length-delimited fields of what may be a protobuf message, of which it has at most 1000; none where bytes are not
 * one.
 */
function embeddedFields(bytes: Uint8Array): Uint8Array[] {
  return (fieldsOf(bytes) ?? []).filter(({ type }) => type === LengthDelimited).map((field) => field.bytes);
}

function isSealMagic(bytes: Uint8Array): boolean {
  return bytes[0] === 0x5e && bytes[1] === 0xa1;
}

function asContext(bytes: Uint8Array, fields: readonly Field[]): TensealMessage | undefined {
  const publicContext = fields.find(({ number }) => number === PUBLIC_CONTEXT_FIELD);
  if (
    !fits(fields, CONTEXT) ||
    (publicContext !== undefined && !fits(fieldsOf(publicContext.bytes) ?? [], PUBLIC_CONTEXT))
  )
    return undefined;
  const message = unlessMalformed(() => TenSEALContextProto.decode(bytes));
  return message !== undefined && hasSealObjects(message) ? { kind: "context", message } : undefined;
}

// Few bytes are enough to look like a context without content.
function hasSealObjects({ encryptionParameters, publicContext }: TenSEALContextProto): boolean {
  if (encryptionParameters.length > 0) return isSealMagic(encryptionParameters);
  return (
    publicContext !== undefined &&
    [publicContext.publicKey, publicContext.relinKeys, publicContext.galoisKeys].some(isSealMagic)
  );
}

function asVector(bytes: Uint8Array, fields: readonly Field[]): TensealMessage | undefined {
  const sizes = fields.find(({ number }) => number === SIZES_FIELD);
  if (!fits(fields, VECTOR, CIPHERTEXTS_FIELD) || (sizes !== undefined && !isNumbers(sizes.bytes))) return undefined;
  const message = CKKSVectorProto.decode(bytes);
  if (!message.ciphertexts.every(isSealMagic)) return undefined;
  return hasTensorShape(message) ? TENSOR : { kind: "vector", message };
}

/** A vector has a size for each of its ciphertexts; a tensor a shape, and a ciphertext for each of its components. */
function hasTensorShape({ sizes, ciphertexts }: CKKSVectorProto): boolean {
  return (
    ciphertexts.length > 1 &&
    sizes.length !== ciphertexts.length &&
    sizes.reduce((product, size) => product * size, 1) === ciphertexts.length
  );
}

function asTensor(fields: readonly Field[]): TensealMessage | undefined {
  const ciphertexts = fields.filter(({ number }) => number === CIPHERTEXTS_FIELD);
  const fitsOne = TENSORS.some((shape) => fits(fields, shape, CIPHERTEXTS_FIELD));
  return fitsOne && ciphertexts.length > 0 && ciphertexts.every(({ bytes }) => isSealMagic(bytes)) ? TENSOR : undefined;
}

/** Whether bytes are uint32 varints, at most as many as there may be ciphertexts. */
function isNumbers(bytes: Uint8Array): boolean {
  if (bytes.length > 5 * MAX_FIELDS) return false;
  const reader = new BinaryReader(bytes);
  const end = unlessMalformed(() => {
    while (reader.pos < reader.len) reader.uint32();
    return reader.pos;
  });
  return end === bytes.length;
}

/** Whether there are fields, all of the shape, and none twice but the repeated one. */
function fits(fields: readonly Field[], shape: Shape, repeated?: number): boolean {
  const once = fields.filter(({ number }) => number !== repeated);
  return (
    fields.length > 0 &&
    fields.every(({ number, type }) => shape.get(number) === type) &&
    new Set(once.map(({ number }) => number)).size === once.length
  );
}

/** The top-level fields of a protobuf message; undefined where bytes are not one. */
function fieldsOf(bytes: Uint8Array): Field[] | undefined {
  const reader = new BinaryReader(bytes);
  const fields: Field[] = [];
  return unlessMalformed(() => {
    while (reader.pos < reader.len && fields.length <= MAX_FIELDS) {
      const [number, type] = reader.tag();
      fields.push({ number, type, bytes: type === LengthDelimited ? reader.bytes() : reader.skip(type, number) });
    }
    return fields.length > MAX_FIELDS ? undefined : fields;
  });
}

/**
 * What `read` gives; undefined where it throws, which the protobuf reader does, with errors of many kinds, for
 * malformed bytes alone.
 */
function unlessMalformed<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
