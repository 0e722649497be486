import { FheError } from "@veilface/fhe";
import type { FheErrorReason } from "@veilface/fhe";
import { CKKSVectorProto, TenSEALContextProto } from "@veilface/proto";

/** What a public TenSEAL context is made of: SEAL's bytes, not looked at yet. */
export interface TensealContext {
  readonly parameters: Uint8Array;
  readonly scale: number;
  readonly publicKey: Uint8Array;
  readonly relinKeys: Uint8Array;
  readonly galoisKeys: Uint8Array;
}

/** A message's codec, as ts-proto makes it. */
interface Codec<Message> {
  decode(data: Uint8Array): Message;
  encode(message: Message): { finish(): Uint8Array };
}

/** A public TenSEAL context. Throws FheError KEYS_MALFORMED if it is none, has a private_context, or has fields that TenSEAL does not write. */
export function openTensealContext(data: Uint8Array): TensealContext {
  const context = decode(TenSEALContextProto, data);
  if (context === undefined) throw malformed("the bytes are not a TenSEALContextProto with TenSEAL's own fields only: send what serialize() gives after make_context_public()");
  const { encryptionParameters: parameters, publicContext, privateContext } = context;
  if (publicContext === undefined || privateContext !== undefined) throw malformed("the TenSEAL context is not a public one: send what serialize() gives after make_context_public()");
  const { scale, publicKey, relinKeys, galoisKeys } = publicContext;
  if (relinKeys.length === 0) throw malformed("the TenSEAL context has no relinearization keys: call generate_relin_keys() before make_context_public()");
  return { parameters, scale, publicKey, relinKeys, galoisKeys };
}

/** The SEAL ciphertext of a TenSEAL vector and its number of components. Throws FheError CIPHERTEXT_MALFORMED. */
export function openCkksVector(data: Uint8Array): { ciphertext: Uint8Array; dimension: number } {
  const reason: FheErrorReason = "CIPHERTEXT_MALFORMED";
  const vector = decode(CKKSVectorProto, data);
  if (vector === undefined) throw malformed("the bytes are not a CKKSVectorProto with TenSEAL's own fields only: send what serialize() of a ckks_vector gives", reason);
  const { sizes, ciphertexts } = vector;
  if (ciphertexts.length === 0) throw malformed("the CKKSVectorProto is empty: it has no ciphertext", reason);
  if (ciphertexts.length > 1) throw malformed(`the CKKSVectorProto has ${ciphertexts.length} ciphertexts: only vectors that fit into the slots of one can be compared`, reason);
  if (sizes.length !== 1 || sizes[0]! < 1) throw malformed("the CKKSVectorProto has one ciphertext: expected one size >= 1 beside it", reason);
  return { ciphertext: ciphertexts[0]!, dimension: sizes[0]! };
}

/** A result as TenSEAL's vector of one component. */
export function sealCkksVector(ciphertext: Uint8Array, scale: number): Uint8Array {
  return CKKSVectorProto.encode({ sizes: [1], ciphertexts: [ciphertext], scale }).finish();
}

/** A message; undefined if the bytes are none, or if encoding it does not give as many: then there were fields that it does not have. */
function decode<Message>(codec: Codec<Message>, data: Uint8Array): Message | undefined {
  try {
    const message = codec.decode(data);
    return codec.encode(message).finish().length === data.length ? message : undefined;
  } catch {
    return undefined;
  }
}

function malformed(message: string, reason: FheErrorReason = "KEYS_MALFORMED"): FheError {
  return new FheError(reason, message);
}
