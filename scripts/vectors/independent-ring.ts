// A negacyclic number theoretic transform in plain BigInt arithmetic, in the order SEAL uses, written from the contract
// alone.

/** Ring degree of every parameter set. */
export const DEGREE = 4096;
const LOG_DEGREE = 12;

/** Z_q[X] / (X^4096 + 1) for one prime q = 1 mod 8192. */
export class IndependentRing {
  readonly prime: bigint;
  readonly #roots: bigint[];
  readonly #inverseRoots: bigint[];
  readonly #inverseDegree: bigint;

  constructor(prime: bigint) {
    this.prime = prime;
    const psi = smallestPrimitiveRoot(prime);
    this.#roots = powersInBitReversedOrder(psi, prime);
    this.#inverseRoots = powersInBitReversedOrder(invert(psi, prime), prime);
    this.#inverseDegree = invert(BigInt(DEGREE), prime);
  }

  /** Coefficients (any sign) to SEAL's NTT order (Cooley-Tukey, output bit-reversed), each in [0, prime). */
  forward(coefficients: readonly bigint[]): bigint[] {
    const q = this.prime;
    const a = coefficients.map((x) => ((x % q) + q) % q);
    let span = DEGREE;
    for (let groups = 1; groups < DEGREE; groups <<= 1) {
      span >>= 1;
      for (let group = 0; group < groups; group++) {
        const root = this.#roots[groups + group]!;
        for (let j = 2 * group * span; j < (2 * group + 1) * span; j++) {
          const u = a[j]!;
          const v = (a[j + span]! * root) % q;
          a[j] = (u + v) % q;
          a[j + span] = (u - v + q) % q;
        }
      }
    }
    return a;
  }

  /** The inverse of {@link forward}: coefficients in [0, prime). */
  inverse(values: readonly bigint[]): bigint[] {
    const q = this.prime;
    const a = [...values];
    let span = 1;
    for (let groups = DEGREE >> 1; groups >= 1; groups >>= 1) {
      for (let group = 0; group < groups; group++) {
        const root = this.#inverseRoots[groups + group]!;
        for (let j = 2 * group * span; j < (2 * group + 1) * span; j++) {
          const u = a[j]!;
          const v = a[j + span]!;
          a[j] = (u + v) % q;
          a[j + span] = ((u - v + q) * root) % q;
        }
      }
      span <<= 1;
    }
    return a.map((x) => (x * this.#inverseDegree) % q);
  }
}

/** base^exponent mod prime. */
function power(base: bigint, exponent: bigint, prime: bigint): bigint {
  let result = 1n;
  for (let square = base % prime, e = exponent; e > 0n; e >>= 1n, square = (square * square) % prime) {
    if (e & 1n) result = (result * square) % prime;
  }
  return result;
}

/** The inverse mod a prime, by Fermat. */
export function invert(x: bigint, prime: bigint): bigint {
  return power(x, prime - 2n, prime);
}

function smallestPrimitiveRoot(prime: bigint): bigint {
  const cofactor = (prime - 1n) / BigInt(2 * DEGREE);
  let root = 0n;
  for (let base = 2n; power(root, BigInt(DEGREE), prime) !== prime - 1n; base++) root = power(base, cofactor, prime);
  let smallest = root;
  const step = (root * root) % prime;
  for (let k = 0, odd = root; k < DEGREE; k++, odd = (odd * step) % prime) if (odd < smallest) smallest = odd;
  return smallest;
}

function powersInBitReversedOrder(psi: bigint, prime: bigint): bigint[] {
  const powers = new Array<bigint>(DEGREE);
  for (let k = 0, value = 1n; k < DEGREE; k++, value = (value * psi) % prime) powers[bitReversed(k)] = value;
  return powers;
}

function bitReversed(index: number): number {
  let reversed = 0;
  for (let bit = 0, rest = index; bit < LOG_DEGREE; bit++, rest >>= 1) reversed = (reversed << 1) | (rest & 1);
  return reversed;
}
