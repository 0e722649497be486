import { FheError } from "../errors.ts";
import { DEGREE as N } from "../parameter-sets.ts";

const LOG_N = Math.log2(N);
const RADIX = 1n << 32n;

/** What the kernel needs to know of one prime q. "Shoup" is floor(x * 2^32 / q). */
export interface ModulusTables {
  readonly prime: number;
  /** q^-1 mod 2^32. */
  readonly montgomery: number;
  /** 2^32 mod q. */
  readonly fold: number;
  readonly foldShoup: number;
  readonly nInverse: number;
  readonly nInverseShoup: number;
  /** psi^i at the bit-reversed place of i, psi the smallest primitive 2N-th root of unity: SEAL's order. */
  readonly roots: Uint32Array;
  readonly rootsShoup: Uint32Array;
  /** psi^-i at the bit-reversed place of i. */
  readonly inverseRoots: Uint32Array;
  readonly inverseRootsShoup: Uint32Array;
}

/** Tables of one NTT prime q. Throws FheError PARAMETERS_INVALID unless q = 1 mod 2N and 2^29 < q < 2^30. */
export function modulusTables(prime: number): ModulusTables {
  assertNttPrime(prime);
  const q = BigInt(prime);
  const fold = RADIX % q;
  const psi = smallestRoot(q);
  const nInverse = inverse(BigInt(N), q);
  const roots = bitReversedPowers(psi, q);
  const inverseRoots = bitReversedPowers(inverse(psi, q), q);
  return {
    prime,
    montgomery: Number(inverseModRadix(q)),
    fold: Number(fold),
    foldShoup: shoup(Number(fold), q),
    nInverse: Number(nInverse),
    nInverseShoup: shoup(Number(nInverse), q),
    roots,
    rootsShoup: roots.map((root) => shoup(root, q)),
    inverseRoots,
    inverseRootsShoup: inverseRoots.map((root) => shoup(root, q)),
  };
}

/** value^-1 mod a prime, by Fermat. */
export function inverse(value: bigint, prime: bigint): bigint {
  return power(value, prime - 2n, prime);
}

function assertNttPrime(prime: number): void {
  if (!Number.isInteger(prime) || prime <= 2 ** 29 || prime >= 2 ** 30)
    throw invalidPrime(prime, "an integer between 2^29 and 2^30");
  if (prime % (2 * N) !== 1) throw invalidPrime(prime, `1 modulo ${2 * N}`);
  for (let divisor = 3; divisor * divisor <= prime; divisor += 2)
    if (prime % divisor === 0) throw invalidPrime(prime, "prime");
}

function invalidPrime(prime: number, expected: string): FheError {
  return new FheError(
    "PARAMETERS_INVALID",
    `coefficient modulus ${prime}: expected it to be ${expected}; use one of the named parameter sets`,
  );
}

function power(base: bigint, exponent: bigint, prime: bigint): bigint {
  let result = 1n;
  let square = base % prime;
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % prime;
    square = (square * square) % prime;
  }
  return result;
}

function smallestRoot(q: bigint): bigint {
  const root = anyRoot(q);
  const square = (root * root) % q;
  let smallest = root;
  // The primitive 2N-th roots are the odd powers of any one of them.
  for (let i = 0, odd = root; i < N; i++, odd = (odd * square) % q) if (odd < smallest) smallest = odd;
  return smallest;
}

function anyRoot(q: bigint): bigint {
  const exponent = (q - 1n) / BigInt(2 * N);
  for (let base = 2n; ; base++) {
    const root = power(base, exponent, q);
    if (power(root, BigInt(N), q) === q - 1n) return root;
  }
}

function bitReversedPowers(base: bigint, q: bigint): Uint32Array {
  const powers = new Uint32Array(N);
  for (let i = 0, value = 1n; i < N; i++, value = (value * base) % q) powers[bitReverse(i)] = Number(value);
  return powers;
}

function bitReverse(index: number): number {
  let reversed = 0;
  for (let bit = 0; bit < LOG_N; bit++) reversed |= ((index >> bit) & 1) << (LOG_N - 1 - bit);
  return reversed;
}

function shoup(value: number, q: bigint): number {
  return Number((BigInt(value) * RADIX) / q);
}

/** q^-1 mod 2^32 by Newton: every step doubles the number of right bits, starting from 3. */
function inverseModRadix(q: bigint): bigint {
  let x = q;
  for (let bits = 3; bits < 32; bits *= 2) x = BigInt.asUintN(32, x * (2n - q * x));
  return x;
}
