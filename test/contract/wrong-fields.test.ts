import assert from "node:assert/strict";
import { test } from "node:test";
import { startContractServer } from "../support/independent/contract-suite.ts";
import { CallRefused } from "../support/independent/independent-client.ts";

const { client } = await startContractServer();

const bad = "Not an id!";
const space = { dimension: 0, metric: 0, norm_bound: -1, model_id: "x".repeat(65), model_version: "y".repeat(65) };
const SPACE_FIELDS = ["dimension", "metric", "norm_bound", "model_id", "model_version"];
const inSpace = (path: string): string[] => SPACE_FIELDS.map((field) => `${path}.${field}`);
const envelope = { context_id: bad, encoding: 99, data: Buffer.alloc(0), sha256: Buffer.alloc(3) };
const upload = { material: 0, total_bytes: 0, sha256: Buffer.alloc(1) };

/** An rpc, a first message with everything wrong that can be at once, and the fields that the refusal has to name. */
const CASES: readonly (readonly [rpc: string, message: object, fields: readonly string[]])[] = [
  [
    "ContextService/CreateContext",
    { new_context: { context: { packed: { parameter_set: 0, key_id: Buffer.alloc(3) } } } },
    ["new_context.context.packed.parameter_set", "new_context.context.packed.key_id"],
  ],
  [
    "ContextService/CreateContext",
    { new_context: { context: { pairwise: { accepted_error: -1 } }, key_uploads: [upload] } },
    ["key_uploads", "key_uploads.total_bytes", "key_uploads.sha256", "context.pairwise.accepted_error"].map(
      (field) => `new_context.${field}`,
    ),
  ],
  [
    "ContextService/CreateContext",
    {
      new_context: {
        context: { pairwise: { accepted_error: -1, scale: 5, encryption_parameters: Buffer.alloc(9) } },
        key_uploads: [{ ...upload, material: 1 }],
      },
    },
    [
      "key_uploads.total_bytes",
      "key_uploads.sha256",
      "context.pairwise.accepted_error",
      "context.pairwise.encryption_parameters",
      "context.pairwise.scale",
    ].map((field) => `new_context.${field}`),
  ],
  ["ContextService/ListContexts", { page_size: -1, page_token: "!" }, ["page_size", "page_token"]],
  [
    "GalleryService/CreateGallery",
    { gallery: { gallery_id: bad, context_id: bad, space, packed_stride: -1, expected_templates: -1, draft_of: bad } },
    ["gallery_id", "context_id", "packed_stride", "expected_templates", "draft_of"]
      .map((field) => `gallery.${field}`)
      .concat(inSpace("gallery.space")),
  ],
  [
    "GalleryService/ListGalleries",
    { context_id: bad, page_size: -1, page_token: "!" },
    ["context_id", "page_size", "page_token"],
  ],
  [
    "GalleryService/ListTemplateChanges",
    { gallery_id: bad, since_revision: -1, page_token: "!", page_size: -1 },
    ["gallery_id", "since_revision", "page_token", "page_size"],
  ],
  [
    "GalleryService/ListTemplates",
    { gallery_id: bad, subject_id: bad, page_token: "!", page_size: -1 },
    ["gallery_id", "subject_id", "page_token", "page_size"],
  ],
  [
    "GalleryService/ListSubjects",
    { gallery_id: bad, page_token: "!", page_size: -1 },
    ["gallery_id", "page_token", "page_size"],
  ],
  [
    "GalleryService/DeleteTemplates",
    { gallery_id: bad, template_ids: [bad], subject_ids: [bad], max_templates: -1 },
    ["gallery_id", "template_ids", "subject_ids", "max_templates"],
  ],
  [
    "GalleryService/ReplaceGallery",
    { gallery_id: bad, draft_id: bad, expected_revision: -1 },
    ["gallery_id", "draft_id", "expected_revision"],
  ],
  [
    "GalleryService/EnrollTemplates",
    { target: { gallery_id: bad, space } },
    ["target.gallery_id", ...inSpace("target.space")],
  ],
  [
    "MatchingService/SearchGallery",
    { target: { gallery_id: bad, space, reply_encoding: 99, probes: -1 } },
    ["target.gallery_id", "target.reply_encoding", "target.probes", ...inSpace("target.space")],
  ],
  [
    "MatchingService/CompareTemplates",
    { target: { gallery_id: bad, subject_id: bad, space, reply_encoding: 99 } },
    ["target.gallery_id", "target.subject_id", "target.reply_encoding", ...inSpace("target.space")],
  ],
  [
    "MatchingService/CompareCiphertexts",
    { dimension: -1, norm_bound: -1, reply_encoding: 99 },
    ["first", "second", "operation", "dimension", "norm_bound", "reply_encoding"],
  ],
  [
    "MatchingService/CompareCiphertexts",
    { first: envelope, second: envelope, operation: 99, dimension: 1 << 20, norm_bound: 1e9 },
    [
      "first.context_id",
      "first.encoding",
      "first.sha256",
      "second.encoding",
      "second.sha256",
      "operation",
      "dimension",
      "norm_bound",
    ],
  ],
];

for (const [rpc, message, fields] of CASES) {
  test(`${rpc} names all ${fields.length} wrong fields in one refusal`, async () => {
    const refusal: unknown = await client.call(rpc, message).catch((error: unknown) => error);
    assert.ok(refusal instanceof CallRefused);
    assert.deepEqual([refusal.code, refusal.reason], [3, "FIELD_INVALID"]);
    assert.deepEqual([...refusal.fields].sort(), [...fields].sort());
    for (const field of fields) assert.ok(refusal.details.includes(field), `the text says ${field} too`);
  });
}
