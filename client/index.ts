export type { ConnectionOptions } from "./boundary.ts";
export { DEFAULT_PATIENCE_MS } from "./remote/call-bounds.ts";
export type { CallOptions } from "./remote/call-bounds.ts";
export type { ServerOptions, TlsOptions } from "./remote/channel.ts";
export type {
  Claim,
  CreateGalleryOptions,
  IdentifyOptions,
  ModelOption,
  PackGalleryOptions,
  RefusedOption,
  RotateKeyOptions,
  Verification,
  VeilfaceClientOptions,
  VerifyOptions,
} from "./client-options.ts";
export { decide } from "./match/decision.ts";
export type { Decision } from "./match/decision.ts";
export type { DeletedTemplates, NotFoundIds } from "./deletion.ts";
export type { EnrollOptions } from "./enroll/enrollment-stream.ts";
export type { Enrollment } from "./enroll/unit-maker.ts";
export { readEmbeddings } from "./embeddings/read-embeddings.ts";
export type { ReadEmbeddingsOptions } from "./embeddings/read-embeddings.ts";
export { ClientError } from "./errors.ts";
export type { ClientErrorOptions, ClientErrorReason } from "./errors.ts";
export { Gallery } from "./gallery.ts";
export type { OpenedGallery } from "./gallery.ts";
export type { DeletedIds, GalleryChanges } from "./remote/gallery-calls.ts";
export type { Candidate, RefusedTemplate } from "./match/rank-candidates.ts";
export { loadKeyFile, saveKeyFile } from "./keys/key-file.ts";
export type { ProtectedKey, SaveKeyFileOptions } from "./keys/key-file.ts";
export { KeyHolder } from "./keys/key-holder.ts";
export type { SecretKeyMaterial } from "./keys/key-holder.ts";
export { identificationThresholdOf, modelOf, spaceOf, thresholdOf } from "./model-space.ts";
export type { EmbeddingCard, ModelSpace } from "./model-space.ts";
export type { UploadOptions } from "./pairwise/key-upload.ts";
export { PairwiseClient } from "./pairwise/pairwise-client.ts";
export { PairwiseGallery } from "./pairwise/pairwise-gallery.ts";
export type {
  DeleteContextOptions,
  NewPairwiseGallery,
  PairwiseClientOptions,
  PairwiseCompareOptions,
  PairwiseKeys,
  TensealUploadOptions,
  VectorPair,
  VectorWithOthers,
} from "./pairwise/pairwise-options.ts";
export type {
  EnrollmentSource,
  PairwiseClaim,
  PairwiseEnrollOptions,
  PairwiseEnrollment,
  PairwiseMatch,
  PairwiseSearchOptions,
} from "./pairwise/pairwise-galleries.ts";
export type {
  PairwiseCiphertext,
  PairwiseContext,
  PairwiseEncoding,
} from "./pairwise/pairwise-wire.ts";
export { readTensealFile, streamTensealFile } from "./pairwise/tenseal-files.ts";
export type { TensealFile } from "./pairwise/tenseal-files.ts";
export type { RewrittenGallery } from "./rewrite/rewrite-gallery.ts";
export { VeilfaceClient } from "./veilface-client.ts";
export type { GalleryInfo, Placement, RosterEntry, ServerInfo, SubjectInfo } from "./remote/wire.ts";
export { DEFAULT_PARAMETER_SET, FheError, PARAMETER_SET_NAMES, plainDistance } from "@veilface/fhe";
export type { EmbeddingSpace, FheErrorReason, Metric, PairwiseOperation, ParameterSetName } from "@veilface/fhe";
