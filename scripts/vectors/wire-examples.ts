// One filled example, or one for each case, of every message that an rpc takes or gives, and of TenSEAL's: in
// protobuf's JSON mapping. No field is left at its default, which would not show on the wire.

const CONTEXT_ID = "96bfae12529f10fd1279920bf0b1af400df8ac557db72c1da4409e16fdf2a689";
const TIME = "2026-01-02T03:04:05.678Z";
const KEY_ID = bytes(32, 0);
const SHA256 = bytes(32, 100);
const UID = Buffer.alloc(16, 0xab).toString("base64");
/** Nobody but the server reads one. */
const PAGE_TOKEN = "ZGlnZXN0LiBzdGFmZi0y";

/** Base64 of so many bytes: first, first + 1, … */
function bytes(count: number, first: number): string {
  return Buffer.from(Array.from({ length: count }, (_, i) => (first + i) % 256)).toString("base64");
}

const ciphertext = (encoding: string, first: number): object => ({
  contextId: CONTEXT_ID,
  encoding: `CIPHERTEXT_ENCODING_${encoding}`,
  data: bytes(15, first),
  sha256: SHA256,
});
const packedCiphertext = ciphertext("PACKED_RESIDUES", 1);
const packed = { parameterSet: "PARAMETER_SET_PACKED_N4096_Q60", keyId: KEY_ID };
const packedContext = { contextId: CONTEXT_ID, packed, createTime: TIME };
// Without create_time: codecs differ in whether they write the cases of a oneof by their own numbers or by that of the
// first case.
const pairwiseContext = {
  contextId: CONTEXT_ID,
  pairwise: {
    encryptionParameters: bytes(20, 7),
    scale: 2 ** 40,
    polyModulusDegree: 8192,
    coeffModulusBits: [60, 40, 40, 60],
    rotationSteps: [1, 2, 4, 64],
    maxDimension: 128,
    maxDistance: 5.5e17,
    expectedError: 2.9e-6,
  },
};
const cosine = { dimension: 128, metric: "METRIC_COSINE", modelId: "model-a", normBound: 1, modelVersion: "1.0" };
const euclidean = { dimension: 512, metric: "METRIC_EUCLIDEAN", modelId: "model-b", normBound: 1.5 };
const gallery = {
  galleryId: "staff-2",
  contextId: CONTEXT_ID,
  space: cosine,
  strides: [16, 128],
  templateCount: "5000000000",
  revision: "6000000000",
  createTime: TIME,
  packedStride: 16,
  expectedTemplates: "1000",
  draftOf: "staff",
  uid: UID,
  labels: { site: "north" },
};
const placement = { block: "4294967296", slot: 7, stride: 16 };
const entry = { templateId: "ada-1", subjectId: "ada", placement, revision: "41" };
const deletedEntry = { templateId: "ada-2", revision: "42", deleted: true };
const piece = { stride: 16, piece: 3, ciphertext: packedCiphertext };
const distances = { block: "3", stride: 16, ciphertext: packedCiphertext };

const publicContext = {
  publicKey: bytes(3, 10),
  autoFlags: 7,
  scale: 2 ** 40,
  relinKeys: bytes(4, 20),
  galoisKeys: bytes(5, 30),
};

/** By the message's full name. */
export const WIRE_EXAMPLES: Readonly<Record<string, readonly object[]>> = {
  "veilface.v1.CreateContextRequest": [
    { newContext: { context: { packed } } },
    {
      newContext: {
        context: { pairwise: { encryptionParameters: bytes(20, 7), scale: 2 ** 40, acceptedError: 0.5 } },
        keyUploads: [
          { material: "KEY_MATERIAL_SEAL_RELIN_KEYS", totalBytes: "1573267", sha256: SHA256 },
          { material: "KEY_MATERIAL_SEAL_GALOIS_KEYS", totalBytes: "18944028", sha256: SHA256 },
        ],
      },
    },
    { keyChunk: { material: "KEY_MATERIAL_SEAL_GALOIS_KEYS", offset: "1048576", data: bytes(15, 50) } },
  ],
  "veilface.v1.CreateContextResponse": [{ context: packedContext }, { context: pairwiseContext }],
  "veilface.v1.GetContextRequest": [{ contextId: CONTEXT_ID }],
  "veilface.v1.GetContextResponse": [{ context: packedContext }],
  "veilface.v1.ListContextsRequest": [{ pageSize: 10, pageToken: PAGE_TOKEN }],
  "veilface.v1.ListContextsResponse": [{ contexts: [packedContext, pairwiseContext], nextPageToken: PAGE_TOKEN }],
  "veilface.v1.DeleteContextRequest": [{ contextId: CONTEXT_ID, force: true, allowMissing: true }],
  "veilface.v1.DeleteContextResponse": [{}],

  "veilface.v1.CreateGalleryRequest": [{ gallery }],
  "veilface.v1.CreateGalleryResponse": [{ gallery }],
  "veilface.v1.GetGalleryRequest": [{ galleryId: "staff" }],
  "veilface.v1.GetGalleryResponse": [{ gallery }],
  "veilface.v1.ListGalleriesRequest": [{ contextId: CONTEXT_ID, pageSize: 10, pageToken: PAGE_TOKEN }],
  "veilface.v1.ListGalleriesResponse": [
    { galleries: [gallery, { ...gallery, space: euclidean }], nextPageToken: PAGE_TOKEN },
  ],
  "veilface.v1.UpdateGalleryRequest": [{ gallery, updateMask: "labels,expected_templates" }],
  "veilface.v1.UpdateGalleryResponse": [{ gallery }],
  "veilface.v1.DeleteGalleryRequest": [{ galleryId: "staff", allowMissing: true }],
  "veilface.v1.DeleteGalleryResponse": [{}],
  "veilface.v1.EnrollTemplatesRequest": [
    { target: { galleryId: "staff", space: cosine } },
    { template: { templateId: "ada-1", subjectId: "ada", ciphertext: ciphertext("SEAL", 9) } },
    {
      block: {
        stride: 16,
        slots: [
          { templateId: "ada-1", subjectId: "ada" },
          { templateId: "bob-1", subjectId: "bob" },
        ],
      },
    },
    { pieces: { pieces: [packedCiphertext, ciphertext("PACKED_RESIDUES", 60)] } },
  ],
  "veilface.v1.EnrollTemplatesResponse": [
    { template: { entry, struckTemplateIds: ["ada-1"] } },
    { block: { block: "8", stride: 16, count: 256, firstRevision: "100", struckTemplateIds: ["ada-2"] } },
  ],
  "veilface.v1.ListTemplatesRequest": [
    { galleryId: "staff", subjectId: "ada", pageSize: 10000, pageToken: PAGE_TOKEN },
  ],
  "veilface.v1.ListTemplatesResponse": [{ entries: [entry], nextPageToken: PAGE_TOKEN }],
  "veilface.v1.ListSubjectsRequest": [{ galleryId: "staff", pageSize: 10000, pageToken: PAGE_TOKEN }],
  "veilface.v1.ListSubjectsResponse": [
    { subjects: [{ subjectId: "ada", templateCount: "5000000000" }], nextPageToken: PAGE_TOKEN },
  ],
  "veilface.v1.ListTemplateChangesRequest": [
    { galleryId: "staff", sinceRevision: "40", pageSize: 10000, pageToken: PAGE_TOKEN },
  ],
  "veilface.v1.ListTemplateChangesResponse": [
    { entries: [entry, deletedEntry], nextPageToken: PAGE_TOKEN, revision: "5000000000" },
  ],
  "veilface.v1.DeleteTemplatesRequest": [
    { galleryId: "staff", templateIds: ["ada-1", "ada-2"], subjectIds: ["bob"], maxTemplates: 2500 },
  ],
  "veilface.v1.DeleteTemplatesResponse": [
    {
      deletedCount: "5000000000",
      revision: "42",
      struckTemplateIds: ["ada-2"],
      more: true,
      struckBlocks: ["8"],
      erasedBlocks: ["9"],
      unknownSubjectIds: ["bob"],
      unknownTemplateIds: ["ada-3"],
    },
  ],
  "veilface.v1.ReadTemplatesRequest": [{ galleryId: "staff" }],
  "veilface.v1.ReadTemplatesResponse": [
    { gallery },
    { block: { block: "4294967296", stride: 16, entries: [entry], pieces: 8 } },
    { pieces: { pieces: [packedCiphertext] } },
  ],
  "veilface.v1.ReplaceGalleryRequest": [
    { galleryId: "staff", draftId: "staff-2", expectedRevision: "42", draftUid: UID },
  ],
  "veilface.v1.ReplaceGalleryResponse": [{ gallery }],

  "veilface.v1.GetServerInfoRequest": [{}],
  "veilface.v1.GetServerInfoResponse": [
    {
      serverInfo: {
        version: "0.1.0",
        schemes: ["packed", "pairwise"],
        parameterSets: ["PARAMETER_SET_PACKED_N4096_Q60"],
        limits: {
          maxMessageBytes: "4194304",
          maxKeyBytes: "67108864",
          maxPairwiseCiphertextBytes: "1900000",
          maxCalls: "4000",
          maxDataBytes: "5000000000",
        },
      },
    },
  ],

  "veilface.v1.CompareTemplatesRequest": [
    { target: { galleryId: "staff", subjectId: "ada", space: cosine, replyEncoding: "CIPHERTEXT_ENCODING_SEAL" } },
    { pieces: { pieces: [piece] } },
  ],
  "veilface.v1.CompareTemplatesResponse": [
    { subject: { gallery, strides: [16, 128] } },
    { comparison: { distances, entries: [entry] } },
  ],
  "veilface.v1.SearchGalleryRequest": [
    {
      target: {
        galleryId: "staff",
        space: cosine,
        replyEncoding: "CIPHERTEXT_ENCODING_PACKED_RESIDUES",
        probes: 2,
        roster: { uid: UID, revision: "5000000000" },
      },
    },
    { pieces: { pieces: [piece, { ...piece, probe: 1 }] } },
  ],
  "veilface.v1.SearchGalleryResponse": [
    { gallery },
    { rosterChanges: { entries: [entry, deletedEntry] } },
    { start: { revision: "5000000000" } },
    { distances },
    { distances: { ...distances, probe: 1 } },
    { distances: { block: "4", stride: 128, identical: true } },
    { distances: { ...distances, damagedSlots: [0, 3] } },
    { distances: { block: "5", stride: 128, refused: "ERROR_REASON_STORED_CORRUPT" } },
  ],
  "veilface.v1.CompareCiphertextsRequest": [
    {
      first: ciphertext("TENSEAL_CKKS_VECTOR", 5),
      second: ciphertext("SEAL", 6),
      operation: "PAIRWISE_OPERATION_SQUARED_DISTANCE",
      dimension: 128,
      normBound: 1.5,
      replyEncoding: "CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR",
    },
  ],
  "veilface.v1.CompareCiphertextsResponse": [{ distance: ciphertext("TENSEAL_CKKS_VECTOR", 5) }, { identical: true }],

  "tenseal.TenSEALContextProto": [
    { encryptionParameters: bytes(6, 1), publicContext, encryptionType: "symmetric" },
    { privateContext: { secretKey: bytes(4, 70), relinKeysGenerated: true, galoisKeysGenerated: true } },
  ],
  "tenseal.TenSEALPublicProto": [publicContext],
  "tenseal.CKKSVectorProto": [{ sizes: [128, 300], ciphertexts: [bytes(6, 1), bytes(3, 9)], scale: 2 ** 40 }],
};
