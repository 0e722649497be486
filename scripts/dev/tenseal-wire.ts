// TenSEAL's own protobuf messages, by an independent codec over the published descriptor set.
import type { MessageTypeDefinition } from "@grpc/proto-loader";
import { contract } from "./published-contract.ts";

/** TenSEALPublicProto. */
interface TensealPublicMessage {
  readonly public_key?: Uint8Array;
  readonly auto_flags?: number;
  readonly scale?: number;
  readonly relin_keys?: Uint8Array;
  readonly galois_keys?: Uint8Array;
}

/** TenSEALPrivateProto. */
interface TensealPrivateMessage {
  readonly secret_key?: Uint8Array;
  readonly relin_keys_generated?: boolean;
  readonly galois_keys_generated?: boolean;
}

/** TenSEALContextProto. */
export interface TensealContextMessage {
  readonly encryption_parameters?: Uint8Array;
  readonly public_context?: TensealPublicMessage | null;
  readonly private_context?: TensealPrivateMessage | null;
  readonly encryption_type?: "asymmetric" | "symmetric";
}

/** CKKSVectorProto. */
interface TensealVectorMessage {
  readonly sizes: readonly number[];
  readonly ciphertexts: readonly Uint8Array[];
  readonly scale?: number;
}

const contextType = contract["tenseal.TenSEALContextProto"] as MessageTypeDefinition<
  TensealContextMessage,
  TensealContextMessage
>;
const vectorType = contract["tenseal.CKKSVectorProto"] as MessageTypeDefinition<
  TensealVectorMessage,
  TensealVectorMessage
>;

export function encodeTensealContext(message: TensealContextMessage): Buffer {
  return contextType.serialize(message);
}

/** Scalars that are absent read as 0 or empty, messages that are absent as null. */
export function decodeTensealContext(bytes: Uint8Array): TensealContextMessage {
  return contextType.deserialize(Buffer.from(bytes));
}

export function encodeTensealVector(message: TensealVectorMessage): Buffer {
  return vectorType.serialize(message);
}

export function decodeTensealVector(bytes: Uint8Array): Required<TensealVectorMessage> {
  return vectorType.deserialize(Buffer.from(bytes)) as Required<TensealVectorMessage>;
}

/** A field as it stands in a message's bytes. */
interface RawField {
  readonly number: number;
  /** 0: varint, 1: eight bytes, 2: bytes with their length, 5: four bytes. */
  readonly wireType: number;
  readonly value: Buffer;
}

const FIXED_BYTES: Readonly<Record<number, number>> = { 1: 8, 5: 4 };

/**
 * The fields of a message in the order of its bytes, without knowing its type. Throws where the bytes are no message.
 */
export function rawFields(bytes: Buffer): RawField[] {
  const fields: RawField[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = readVarint(bytes, at);
    const wireType = tag.value & 7;
    const head = wireType === 2 ? readVarint(bytes, tag.end) : tag;
    const end =
      wireType === 0
        ? readVarint(bytes, tag.end).end
        : head.end + (wireType === 2 ? head.value : FIXED_BYTES[wireType]!);
    if (!(end <= bytes.length)) throw new Error(`field ${tag.value >> 3} ends outside its message`);
    fields.push({ number: tag.value >> 3, wireType, value: bytes.subarray(head.end, end) });
    at = end;
  }
  return fields;
}

/** A field of bytes, as it stands in a message. */
export function rawBytesField(number: number, value: Buffer): Buffer {
  const varint: number[] = [];
  for (let rest = value.length; ; rest = Math.floor(rest / 128)) {
    varint.push(rest >= 128 ? (rest % 128) | 128 : rest);
    if (rest < 128) break;
  }
  return Buffer.concat([Buffer.of(8 * number + 2, ...varint), value]);
}

function readVarint(bytes: Buffer, start: number): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let at = start; at < bytes.length; at++) {
    value += (bytes[at]! & 127) * 128 ** (at - start);
    if (bytes[at]! < 128) return { value, end: at + 1 };
  }
  throw new Error("a number ends outside its message");
}
