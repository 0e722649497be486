import type { Enrollment } from "../enroll/unit-maker.ts";
import { checkFileId, fileError, rowId } from "./file-error.ts";
import type { FilePlace } from "./file-error.ts";
import type { Line } from "./lines.ts";

const KEYS = ["templateId", "subjectId", "embedding"];

/**
 * Reads a line {"templateId"?, "subjectId"?, "embedding": […]} and nothing else. Without a template id it is the line's
 * number, "row-0000001"; without a subject the template's id names it too. Throws ClientError EMBEDDINGS_FILE_INVALID,
 * naming the line.
 */
export function readJsonLine(path: string, { number, text }: Line, dimension: number | undefined): Enrollment {
  const at = { path, number };
  const fields = parseObject(at, text);
  const stranger = Object.keys(fields).find((key) => !KEYS.includes(key));
  if (stranger !== undefined)
    throw fileError(
      path,
      `line ${number} has a key ${JSON.stringify(stranger.slice(0, 40))}: expected ${KEYS.join(", ")}`,
    );
  const templateId = idOf(at, "template", fields["templateId"]) ?? rowId(number);
  return {
    templateId,
    subjectId: idOf(at, "subject", fields["subjectId"]) ?? templateId,
    embedding: embeddingOf(at, fields["embedding"], dimension),
  };
}

function parseObject({ path, number }: FilePlace, text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own words would quote the line.
    const why = /\b(NaN|-?Infinity)\b/.test(text) ? ": JSON has no NaN and no Infinity" : "";
    throw fileError(path, `line ${number} is not JSON${why}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw fileError(path, `line ${number} is not a JSON object`);
  return { ...value };
}

function idOf(at: FilePlace, kind: "template" | "subject", value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string") throw fileError(at.path, `line ${at.number}: its ${kind} id is not a string`);
  return checkFileId(at, kind, value);
}

function embeddingOf({ path, number }: FilePlace, value: unknown, dimension: number | undefined): Float64Array {
  if (!Array.isArray(value) || value.length === 0)
    throw fileError(path, `line ${number} has no "embedding" with numbers in it`);
  if (dimension !== undefined && value.length !== dimension)
    throw fileError(path, `line ${number} has ${value.length} components: expected ${dimension}`);
  return Float64Array.from(value, (component: unknown, k) => {
    if (typeof component === "number" && Number.isFinite(component)) return component;
    throw fileError(path, `line ${number}: component ${k + 1} is not a finite number`);
  });
}
