import type { Enrollment } from "../enroll/unit-maker.ts";
import { checkFileId, fileError, rowId } from "./file-error.ts";
import type { Line } from "./lines.ts";

const KEYS = ["templateId", "subjectId", "embedding"];

/**
 * Reads a line {"templateId"?, "subjectId"?, "embedding": […]} and nothing else. Without a template id it is the line's
 * number, "row-0000001"; without a subject the template's id names it too. Throws ClientError EMBEDDINGS_FILE_INVALID,
 * naming the line.
 */
export function readJsonLine(path: string, { number, text }: Line, dimension: number | undefined): Enrollment {
  const fields = parseObject(path, number, text);
  const stranger = Object.keys(fields).find((key) => !KEYS.includes(key));
  if (stranger !== undefined)
    throw fileError(
      path,
      `line ${number} has a key ${JSON.stringify(stranger.slice(0, 40))}: expected ${KEYS.join(", ")}`,
    );
  const templateId = idOf(path, number, "template", fields["templateId"]) ?? rowId(number);
  return {
    templateId,
    subjectId: idOf(path, number, "subject", fields["subjectId"]) ?? templateId,
    embedding: embeddingOf(path, number, fields["embedding"], dimension),
  };
}

function parseObject(path: string, number: number, text: string): Record<string, unknown> {
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
  return value as Record<string, unknown>;
}

function idOf(path: string, number: number, kind: "template" | "subject", value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== "string") throw fileError(path, `line ${number}: its ${kind} id is not a string`);
  return checkFileId(path, `line ${number}`, kind, value);
}

function embeddingOf(path: string, number: number, value: unknown, dimension: number | undefined): Float64Array {
  if (!Array.isArray(value) || value.length === 0)
    throw fileError(path, `line ${number} has no "embedding" with numbers in it`);
  if (dimension !== undefined && value.length !== dimension)
    throw fileError(path, `line ${number} has ${value.length} components: expected ${dimension}`);
  const bad = value.findIndex((component) => typeof component !== "number" || !Number.isFinite(component));
  if (bad >= 0) throw fileError(path, `line ${number}: component ${bad + 1} is not a finite number`);
  return Float64Array.from(value as number[]);
}
