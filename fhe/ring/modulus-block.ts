import type { ModulusTables } from "./modulus.ts";
import { DEGREE as N } from "../parameter-sets.ts";

// The layout assembly/modulus.ts reads: six constants, the mask, padding to a cache line, four tables.
const MASK_BYTES = 32;
const CONSTANTS_BYTES = 64;

/** Bytes of one prime's constants and tables in WASM memory. */
export const MODULUS_BLOCK_BYTES = CONSTANTS_BYTES + 4 * 4 * N;

/** Writes them at an address of the memory. */
export function writeModulusBlock(memory: Uint32Array, address: number, tables: ModulusTables): void {
  memory.set(
    [tables.prime, tables.montgomery, tables.fold, tables.foldShoup, tables.nInverse, tables.nInverseShoup],
    address / 4,
  );
  memory.set([0xffff_ffff, 0, 0xffff_ffff, 0], (address + MASK_BYTES) / 4);
  const parts = [tables.roots, tables.rootsShoup, tables.inverseRoots, tables.inverseRootsShoup];
  parts.forEach((table, i) => {
    memory.set(table, (address + CONSTANTS_BYTES) / 4 + i * N);
  });
}
