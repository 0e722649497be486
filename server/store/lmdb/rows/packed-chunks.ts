/**
 * About how long a chunk is: long enough that little is left unused of its last page (0.8 %) and a read costs nothing
 * beside the copying, short enough to be in a core's second-level cache when it is used.
 */
const CHUNK_BYTES = 2 ** 19;

/** No chunk that {@link cutChunks} makes is longer; the store takes none that is. */
export const LARGEST_CHUNK_BYTES = 1.5 * CHUNK_BYTES;

/**
 * Cuts the tiles of a block into the chunks that the store keeps, without copying: whole tiles of one prime each, all
 * of one length between 0.7 and 1.4 times 512 KiB, or a whole prime each where that is shorter. `tiles`: [prime][tile]
 * as `toTiles` of fhe makes them. A prime has 1024 tiles, so that any power of two of chunks is whole tiles.
 */
export function cutChunks(tiles: Uint8Array, primes: number): Uint8Array[] {
  const perPrime = 2 ** Math.max(0, Math.round(Math.log2(tiles.length / primes / CHUNK_BYTES)));
  const chunkBytes = tiles.length / primes / perPrime;
  return Array.from({ length: primes * perPrime }, (_, i) => tiles.subarray(i * chunkBytes, (i + 1) * chunkBytes));
}
