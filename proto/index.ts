export * from "./contract.ts";
export { definedOnly } from "./defined-only.ts";
export type { Defined } from "./defined-only.ts";
export {
  TENSEAL_WRAPPING,
  describeTenseal,
  isSecretContext,
  isWholeSealObject,
  recognizeTenseal,
} from "./tenseal-messages.ts";
export type { TensealMessage } from "./tenseal-messages.ts";
export { CKKSVectorProto, EncryptionType, TenSEALContextProto, TenSEALPublicProto } from "./gen/tenseal/tenseal.ts";
export * from "./gen/veilface/v1/ciphertext.ts";
export * from "./gen/veilface/v1/context.ts";
export * from "./gen/veilface/v1/context_service.ts";
export * from "./gen/veilface/v1/distance.ts";
export * from "./gen/veilface/v1/error_reason.ts";
export * from "./gen/veilface/v1/gallery.ts";
export * from "./gen/veilface/v1/gallery_service.ts";
export * from "./gen/veilface/v1/matching_service.ts";
export * from "./gen/veilface/v1/server_service.ts";
export * from "./gen/veilface/v1/template.ts";
// Both streaming services' files declare this type; named once, it is no ambiguity.
export type { ServerStreamingMethodResult } from "./gen/veilface/v1/matching_service.ts";
export { REFLECTION_VERSIONS, standardServicesDescriptorSet } from "./standard-services.ts";
