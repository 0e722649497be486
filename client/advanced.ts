// For those who build beneath the client or beside it: keys at work, and what front ends share.
export { definedOnly } from "@veilface/proto";
export type { Defined } from "@veilface/proto";
export { errorCode } from "./errors.ts";
export { checkContextId, checkId } from "./ids.ts";
export type { IdKind } from "./ids.ts";
export { noFileAt, openInput, readInput, systemErrorText } from "./input-file.ts";
export type { InputLimit } from "./input-file.ts";
export { KeyCiphers } from "./keys/key-ciphers.ts";
export type { KeyName, MakeKey } from "./keys/key-ciphers.ts";
export { ciphersOf } from "./keys/key-holder.ts";
export { PackedCrypto } from "./keys/packed-crypto.ts";
export type { EncodedBytes, EncryptedPiece, EncryptedProbe, ProbePieces } from "./keys/packed-crypto.ts";
export { textOfRefused } from "./match/refused-templates.ts";
export { openVector } from "./pairwise/pairwise-wire.ts";
export type { OpenVector } from "./pairwise/pairwise-wire.ts";
export { writeWholeFile } from "./whole-file.ts";
export type { WholeFileOptions } from "./whole-file.ts";
export type {
  CiphertextCodec,
  CiphertextEncoding,
  Layout,
  MatchingRoom,
  ParameterSet,
  PublicSeal,
  RingKernel,
  Seal,
  StoredResidues,
} from "@veilface/fhe";
export type { CKKSVectorProto } from "@veilface/proto";
