/**
 * The buffers of bytes that are handed over to another thread, and empty here afterwards; bytes that are shared between
 * the threads have none to hand over.
 */
export function buffersOf(bytes: readonly Uint8Array[]): ArrayBuffer[] {
  return bytes.map(({ buffer }) => buffer).filter((buffer) => buffer instanceof ArrayBuffer);
}
