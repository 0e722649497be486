import { fileError } from "./file-error.ts";
import type { NamedFile } from "./file-error.ts";

/** A line of a text file, without its end. */
export interface Line {
  /** From 1. */
  readonly number: number;
  readonly text: string;
}

// 2048 components of 25 characters and two ids take 52 KB; nothing longer is a line of embeddings.
const MAX_LINE_BYTES = 2 ** 18;
const CHUNK_BYTES = 2 ** 18;
const NEWLINE = 10;
const BYTE_ORDER_MARK = "\ufeff";

/**
 * The lines of a text file, ended by \n or \r\n; blank ones are passed over but counted. Memory is one line's and a
 * chunk's. Calls `onRead` with the bytes read so far. Throws ClientError EMBEDDINGS_FILE_INVALID, naming the line, for
 * one of more than 256 KiB.
 */
export async function* readLines(
  { file, path }: NamedFile,
  onRead: (bytes: number) => void = () => undefined,
): AsyncGenerator<Line, void, undefined> {
  let rest = Buffer.alloc(0);
  let number = 0;
  const buffer = Buffer.alloc(CHUNK_BYTES);
  for (let read = 0; ; ) {
    const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, null);
    read += bytesRead;
    onRead(read);
    const bytes =
      bytesRead === 0 && rest.length > 0
        ? Buffer.concat([rest, Buffer.from("\n")])
        : Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      number++;
      if (end - start > MAX_LINE_BYTES) throw tooLong(path, number);
      const text = lineText(path, bytes.subarray(start, end), number);
      start = end + 1;
      if (text.trim() !== "") yield { number, text };
    }
    rest = Buffer.from(bytes.subarray(start));
    if (rest.length > MAX_LINE_BYTES) throw tooLong(path, number + 1);
    if (bytesRead === 0) return;
  }
}

function lineText(path: string, bytes: Buffer, number: number): string {
  const text = bytes.toString("utf8").replace(/\r$/, "");
  // UTF-16 is full of the one, and what has no other line ends is full of the other.
  if (text.includes("\0") || text.includes("\r")) {
    const expected = "save the file as UTF-8, with lines that end in \\n or \\r\\n";
    throw fileError(path, `line ${number} has a byte 0 or a lone \\r: ${expected}`);
  }
  return number === 1 && text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text;
}

function tooLong(path: string, number: number): Error {
  return fileError(path, `line ${number} is longer than ${MAX_LINE_BYTES} bytes: expected an embedding a line`);
}
