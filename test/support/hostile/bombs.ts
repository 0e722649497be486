// Compressed streams that unpack to far more than any ciphertext: real ones, made without ever holding what they unpack
// to.
import { createDeflate, createZstdCompress } from "node:zlib";

const CHUNK = Buffer.alloc(4 << 20);

/** What the bombs unpack to. */
export const BOMB_BYTES = 512 << 20;

/** 512 MiB of zeros, compressed to less than 1 MiB. */
export async function bomb(compression: "zlib" | "zstd"): Promise<Buffer> {
  const compressor = compression === "zlib" ? createDeflate({ level: 6 }) : createZstdCompress();
  const parts: Buffer[] = [];
  compressor.on("data", (part: Buffer) => parts.push(part));
  for (let left = BOMB_BYTES; left > 0; left -= CHUNK.length) {
    await new Promise<void>((resolve) =>
      compressor.write(CHUNK, () => {
        resolve();
      }),
    );
  }
  await new Promise<void>((resolve) => {
    compressor.once("end", resolve).end();
  });
  return Buffer.concat(parts);
}
