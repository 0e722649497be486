import { fileError } from "./file-error.ts";
import type { FilePlace, NamedFile } from "./file-error.ts";
import { NPY_HEAD_BYTES, bytesPerNumber, parseNpyHeader } from "./npy-header.ts";
import type { NpyHeader } from "./npy-header.ts";

const CHUNK_BYTES = 2 ** 20;

/**
 * Reads and checks the header, and that the file has exactly the bytes that it promises. Throws ClientError
 * EMBEDDINGS_FILE_INVALID.
 */
export async function openNpy({ file, path }: NamedFile): Promise<NpyHeader> {
  const { size } = await file.stat();
  const { buffer, bytesRead } = await file.read(Buffer.alloc(NPY_HEAD_BYTES), 0, NPY_HEAD_BYTES, 0);
  const header = parseNpyHeader(path, buffer.subarray(0, bytesRead));
  const expected = header.offset + header.rows * header.dimension * bytesPerNumber(header);
  if (size !== expected) {
    const where =
      size < expected
        ? `it ends in row ${Math.floor((size - header.offset) / (header.dimension * bytesPerNumber(header))) + 1} of ${header.rows}`
        : "something follows its last row";
    throw fileError(path, `it has ${size} bytes, but its header promises ${expected}: ${where}`);
  }
  return header;
}

/**
 * The rows of a .npy file, as fresh arrays. Memory is 1 MiB, whatever the file. Throws ClientError
 * EMBEDDINGS_FILE_INVALID, naming the row, for one with NaN or infinity.
 */
export async function* readNpyRows(
  file: NamedFile,
  header: NpyHeader,
): AsyncGenerator<Float32Array | Float64Array, void, undefined> {
  const rowBytes = header.dimension * bytesPerNumber(header);
  const rowsAtOnce = Math.max(1, Math.floor(CHUNK_BYTES / rowBytes));
  for (let first = 0; first < header.rows; first += rowsAtOnce) {
    const rows = Math.min(rowsAtOnce, header.rows - first);
    const bytes = await readExactly(file, header.offset + first * rowBytes, rows * rowBytes);
    for (let row = 0; row < rows; row++) {
      const place = { path: file.path, number: first + row + 1 };
      yield readRow(place, header, bytes.subarray(row * rowBytes, (row + 1) * rowBytes));
    }
  }
}

async function readExactly({ file, path }: NamedFile, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; ) {
    const { bytesRead } = await file.read(bytes, at, length - at, position + at);
    if (bytesRead === 0) throw fileError(path, "it was cut short while it was read");
    at += bytesRead;
  }
  return bytes;
}

function readRow(
  { path, number }: FilePlace,
  { type, dimension }: NpyHeader,
  bytes: Buffer,
): Float32Array | Float64Array {
  const row = type === "float64" ? new Float64Array(dimension) : new Float32Array(dimension);
  if (type === "float16") row.forEach((_, k) => (row[k] = halfToNumber(bytes.readUInt16LE(2 * k))));
  // Rows may lie at any offset, where typed arrays need an aligned one; a little-endian host is assumed, as everywhere.
  else new Uint8Array(row.buffer).set(bytes);
  const bad = row.findIndex((component) => !Number.isFinite(component));
  if (bad >= 0) throw fileError(path, `row ${number}: component ${bad + 1} is not a finite number`);
  return row;
}

/** A number in IEEE 754 binary16. */
function halfToNumber(bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}
