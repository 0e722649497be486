import type { BlockReader } from "../store/gallery-store.ts";
import { openBlockReader } from "../store/lmdb/readers/block-reader.ts";

const readers = new Map<string, BlockReader>();

/** This worker thread's reader of the store in that folder. */
export function readerFor(path: string): BlockReader {
  let reader = readers.get(path);
  if (reader === undefined) {
    reader = openBlockReader(path);
    readers.set(path, reader);
  }
  return reader;
}
