// proto/contract.ts says as code what the .proto files say in their comments and enums.
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { MAX_PACKED_CIPHERTEXT_BYTES, MAX_PAIRWISE_CIPHERTEXT_BYTES, PARAMETER_SET_NAMES } from "@veilface/fhe";
import {
  CIPHERTEXT_ENCODINGS,
  CONTEXT_PAGES,
  CiphertextEncoding,
  ErrorReason,
  GALLERY_PAGES,
  LABELS,
  MAX_DELETED_PER_CALL,
  MAX_KEY_BYTES,
  MAX_KEY_CHUNK_BYTES,
  MAX_EXPECTED_TEMPLATES,
  MAX_ID_CHARACTERS,
  MAX_PACKED_DIMENSION,
  METRICS,
  Metric,
  PAIRWISE_OPERATIONS,
  PARAMETER_SETS,
  PairwiseOperation,
  ParameterSet,
  ROSTER_PAGES,
  UID_BYTES,
  errorReasonName,
  errorReasonOf,
} from "@veilface/proto";
import type { EnumTable, PageSizes } from "@veilface/proto";

const folder = join(import.meta.dirname, "../../../proto/veilface/v1");
const protos = globSync("*.proto", { cwd: folder }).map((name) => readFileSync(join(folder, name), "utf8"));
/** All comments and fields, without the marks and line ends of comments. */
const words = protos.join("\n").replaceAll(/\s*\n\s*(\/\/ ?)?/g, " ");

const tables: readonly (readonly [string, EnumTable<string, number>, Readonly<Record<string, number>>])[] = [
  ["METRIC_", METRICS, Metric],
  ["PARAMETER_SET_", PARAMETER_SETS, ParameterSet],
  ["CIPHERTEXT_ENCODING_", CIPHERTEXT_ENCODINGS, CiphertextEncoding],
  ["PAIRWISE_OPERATION_", PAIRWISE_OPERATIONS, PairwiseOperation],
];

for (const [prefix, table, values] of tables) {
  test(`every ${prefix}* has a name, and goes there and back`, () => {
    const { UNRECOGNIZED: unrecognized, [`${prefix}UNSPECIFIED`]: unspecified, ...valid } = values;
    assert.deepEqual(
      Object.fromEntries(
        table.names.map((name) => [prefix + name.replaceAll("-", "_").toUpperCase(), table.toWire(name)]),
      ),
      valid,
    );
    for (const name of table.names) assert.equal(table.fromWire(table.toWire(name)), name);
    for (const none of [unrecognized!, unspecified!, 12_345]) assert.equal(table.fromWire(none), undefined);
  });
}

test("the parameter sets of the contract are those of the cryptography", () => {
  assert.deepEqual(PARAMETER_SETS.names, PARAMETER_SET_NAMES);
});

test("reasons lose their prefix and get it back; one of a later version is unknown", () => {
  assert.equal(errorReasonName(ErrorReason.ERROR_REASON_STORED_CORRUPT), "STORED_CORRUPT");
  assert.equal(errorReasonOf("STORED_CORRUPT"), ErrorReason.ERROR_REASON_STORED_CORRUPT);
  assert.equal(errorReasonName(12_345 as ErrorReason), "UNKNOWN");
  assert.equal(errorReasonName(ErrorReason.UNRECOGNIZED), "UNKNOWN");
});

test("the limits are those that the comments of the contract state", () => {
  const pages = ({ most, usual }: PageSizes): string =>
    `How many at most: 0 means ${usual}, and more than ${most} as much as ${most}.`;
  for (const stated of [
    ...[CONTEXT_PAGES, GALLERY_PAGES, ROSTER_PAGES].map(pages),
    `1 to ${MAX_ID_CHARACTERS} characters of a-z, 0-9 and "-"`,
    `Components of a plain embedding, in [1, ${MAX_PACKED_DIMENSION}]`,
    "in [1e-6, 1e6]",
    "in (0, 1e6]",
    `in [0, ${MAX_EXPECTED_TEMPLATES}]`,
    `Templates to delete; at most ${MAX_DELETED_PER_CALL}.`,
    `may delete, in [1, ${MAX_DELETED_PER_CALL}]`,
    `at most ${LABELS.most} labels`,
    `values of at most ${LABELS.maxValueCharacters} characters`,
    `${UID_BYTES} random bytes`,
    `${MAX_KEY_BYTES.toLocaleString("en")} bytes (64 MiB) at most in sum`,
    `1 to ${MAX_KEY_CHUNK_BYTES.toLocaleString("en")} (1 MiB)`,
    `at most ${MAX_PACKED_CIPHERTEXT_BYTES / 2 ** 20} MiB in the packed scheme`,
    `${MAX_PAIRWISE_CIPHERTEXT_BYTES.toLocaleString("en")} bytes in the pairwise scheme`,
  ])
    assert.ok(words.includes(stated), stated);
});
