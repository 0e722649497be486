import { MAX_PACKED_DIMENSION } from "@veilface/proto";
import { fileError } from "./file-error.ts";

/** How the numbers of a .npy file are laid out. */
export interface NpyHeader {
  readonly type: "float16" | "float32" | "float64";
  readonly rows: number;
  readonly dimension: number;
  /** Bytes before the first number. */
  readonly offset: number;
}

const MAGIC = Buffer.from("\x93NUMPY", "latin1");
// NumPy itself refuses to read longer ones unless told to (max_header_size).
const MAX_HEADER_BYTES = 10_000;
/** Enough to hold the magic, the version, the length and the longest header. */
export const NPY_HEAD_BYTES = MAX_HEADER_BYTES + 12;

const TYPES: Readonly<Record<string, NpyHeader["type"]>> = { "<f2": "float16", "<f4": "float32", "<f8": "float64" };
const BYTES = { float16: 2, float32: 4, float64: 8 };

/** Bytes of one number. */
export function bytesPerNumber({ type }: NpyHeader): number {
  return BYTES[type];
}

/**
 * Reads the header of a .npy file (NumPy's NEP 1, versions 1 to 3) from its first bytes. Takes what NumPy writes for a
 * plain array and nothing else: two dimensions, C order, little-endian floats. Throws ClientError
 * EMBEDDINGS_FILE_INVALID.
 */
export function parseNpyHeader(path: string, head: Buffer): NpyHeader {
  if (!head.subarray(0, 6).equals(MAGIC))
    throw fileError(path, "it does not start as a .npy file does: save it with numpy.save");
  const version = head[6];
  if (head.length < 12 || version === undefined || version < 1 || version > 3)
    throw fileError(path, "its .npy version is not 1, 2 or 3, or it is cut short");
  const [start, length] = version === 1 ? [10, head.readUInt16LE(8)] : [12, head.readUInt32LE(8)];
  if (length > MAX_HEADER_BYTES)
    throw fileError(path, `its header has ${length} bytes: expected at most ${MAX_HEADER_BYTES}`);
  if (head.length < start + length) throw fileError(path, "it ends within its header");
  const { descr, fortran, shape } = parseDictionary(
    path,
    head.toString(version === 3 ? "utf8" : "latin1", start, start + length),
  );
  const type = TYPES[descr] ?? refuseType(path, descr);
  if (fortran === "True") throw fileError(path, "its numbers are in Fortran order: save numpy.ascontiguousarray(x)");
  const [rows, dimension, ...more] = shape;
  if (rows === undefined || dimension === undefined || more.length > 0)
    throw fileError(path, `its shape has ${shape.length} dimensions: expected two, (templates, components)`);
  if (dimension < 1 || dimension > MAX_PACKED_DIMENSION || !Number.isSafeInteger(rows))
    throw fileError(
      path,
      `its shape is (${rows}, ${dimension}): expected 1 to ${MAX_PACKED_DIMENSION} components a row`,
    );
  return { type, rows, dimension, offset: start + length };
}

/** The header is the text of a Python dictionary with exactly these three keys, in any order. */
function parseDictionary(path: string, text: string): { descr: string; fortran: string; shape: number[] } {
  const body = /^\{(.*)\}[ ]*\n$/s.exec(text)?.[1];
  const field = String.raw`'(descr|fortran_order|shape)': ?('[^']*'|True|False|\(\)|\(\d+(?:, ?\d+)*,?\))`;
  if (body === undefined || !new RegExp(`^${field}, ${field}, ${field},? ?$`).test(body)) {
    throw fileError(
      path,
      "its header is not that of a plain array of numbers: expected descr, fortran_order and shape",
    );
  }
  const found = body.matchAll(new RegExp(field, "g"));
  const fields = new Map(Array.from(found, ([, name, value]) => [name, value]));
  const [descr, fortran, shape] = [fields.get("descr"), fields.get("fortran_order"), fields.get("shape")];
  if (
    descr?.startsWith("'") !== true ||
    fortran === undefined ||
    !/^(True|False)$/.test(fortran) ||
    shape?.startsWith("(") !== true
  ) {
    throw fileError(path, "its header has a field of another kind than descr, fortran_order and shape are");
  }
  return { descr: descr.slice(1, -1), fortran, shape: [...shape.matchAll(/\d+/g)].map(([digits]) => Number(digits)) };
}

function refuseType(path: string, descr: string): never {
  const printable = /^[\x20-\x7e]{0,16}$/.test(descr) ? `"${descr}"` : "something else";
  throw fileError(
    path,
    `its numbers are of type ${printable}: expected little-endian floats, "<f2", "<f4" or "<f8" (x.astype("<f4"))`,
  );
}
