import { FheError } from "@veilface/fhe";
import type { FheErrorReason } from "@veilface/fhe";
import { CKKSVectorProto, describeTenseal, recognizeTenseal } from "@veilface/proto";

/** What a public TenSEAL context is made of: SEAL's bytes, not looked at yet. */
interface TensealContext {
  readonly parameters: Uint8Array;
  readonly scale: number;
  readonly publicKey: Uint8Array;
  readonly relinKeys: Uint8Array;
  readonly galoisKeys: Uint8Array;
}

/**
 * A public TenSEAL context. Throws FheError KEYS_MALFORMED if it is no such context, has a private_context, or fields
 * that TenSEAL does not write.
 */
export function openTensealContext(data: Uint8Array): TensealContext {
  const found = recognizeTenseal(data);
  if (found.kind !== "context")
    throw malformed(
      "KEYS_MALFORMED",
      `the upload is ${describeTenseal(found)}: expected a public TenSEAL context, as context.serialize() gives it`,
    );
  const { encryptionParameters: parameters, publicContext, privateContext } = found.message;
  // For readOutside to call by its name.
  if (privateContext !== undefined) throw malformed("KEYS_MALFORMED", "the TenSEAL context has its private_context");
  if (publicContext === undefined)
    throw malformed("KEYS_MALFORMED", "the TenSEAL context has no public_context: send what context.serialize() gives");
  const { scale, publicKey, relinKeys, galoisKeys } = publicContext;
  if (relinKeys.length === 0)
    throw malformed(
      "KEYS_MALFORMED",
      "the TenSEAL context has no relinearization keys: where the secret key is, call context.generate_relin_keys() and serialize it again",
    );
  return { parameters, scale, publicKey, relinKeys, galoisKeys };
}

/** The SEAL ciphertext of a TenSEAL vector and its number of components. Throws FheError CIPHERTEXT_MALFORMED. */
export function decodeCkksVector(data: Uint8Array): { ciphertext: Uint8Array; dimension: number } {
  const found = recognizeTenseal(data);
  if (found.kind !== "vector")
    throw malformed(
      "CIPHERTEXT_MALFORMED",
      `the data is ${describeTenseal(found)}: expected an encrypted TenSEAL vector, as serialize() of a ckks_vector gives it`,
    );
  const { sizes, ciphertexts, scale } = found.message;
  const [ciphertext] = ciphertexts;
  if (ciphertext === undefined)
    throw malformed("CIPHERTEXT_MALFORMED", "the CKKSVectorProto is empty: it has no ciphertext");
  if (ciphertexts.length > 1)
    throw malformed(
      "CIPHERTEXT_MALFORMED",
      `the CKKSVectorProto has ${ciphertexts.length} ciphertexts: only vectors that fit into the slots of one can be compared`,
    );
  const [dimension] = sizes;
  if (sizes.length !== 1 || dimension === undefined || dimension < 1)
    throw malformed("CIPHERTEXT_MALFORMED", "the CKKSVectorProto has one ciphertext: expected one size >= 1 beside it");
  if (scale === 0)
    throw malformed(
      "CIPHERTEXT_MALFORMED",
      "the vector has no scale, as those of ts.bfv_vector: expected a vector of a CKKS context, as ts.ckks_vector makes it",
    );
  return { ciphertext, dimension };
}

/** A result as TenSEAL's vector of one component. */
export function encodeCkksVector(ciphertext: Uint8Array, scale: number): Uint8Array {
  return CKKSVectorProto.encode({ sizes: [1], ciphertexts: [ciphertext], scale }).finish();
}

function malformed(reason: FheErrorReason, message: string): FheError {
  return new FheError(reason, message);
}
