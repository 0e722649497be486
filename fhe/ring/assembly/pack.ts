// 30 bits a residue, little-endian bit order: 4 residues are 15 bytes. Both directions touch one byte past the last
// group.
import { N } from "./modulus";

const MASK: u64 = 0x3fffffff;

export function packPolynomial(residues: usize, bytes: usize): void {
  for (let i: usize = 0; i < N / 4; i++) {
    const from = residues + (i << 4), to = bytes + 15 * i;
    const third = u64(load<u32>(from, 8));
    store<u64>(to, u64(load<u32>(from)) | (u64(load<u32>(from, 4)) << 30) | (third << 60));
    store<u64>(to, (third >> 4) | (u64(load<u32>(from, 12)) << 26), 8);
  }
}

export function unpackPolynomial(bytes: usize, residues: usize): void {
  for (let i: usize = 0; i < N / 4; i++) {
    const from = bytes + 15 * i, to = residues + (i << 4);
    const low = load<u64>(from), high = load<u64>(from, 8);
    store<u32>(to, u32(low & MASK));
    store<u32>(to, u32((low >> 30) & MASK), 4);
    store<u32>(to, u32(((low >> 60) | (high << 4)) & MASK), 8);
    store<u32>(to, u32((high >> 26) & MASK), 12);
  }
}
