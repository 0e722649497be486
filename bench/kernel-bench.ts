// The ring kernel on one thread: s = 1, d = 128, a gallery larger than the CPU's caches, in ordinary memory in chunks
// as a store hands them out. SEAL's own multiply and add, and a plain SIMD read of as many bytes in WebAssembly memory,
// run between the kernel's rounds; figures are medians.
//
// What was tried for the inner loop, us per ciphertext product of one prime (2-core x86-64 at 30 GB/s plain read,
// medians of 7, tiles in cache / streamed from WebAssembly memory / copied in 64 KiB at a time). T is the coefficients
// of a tile; "folds" turn 64-bit sums into 51-bit ones.
//
//   four products, T = 64, one fold per vector and 8 pieces        2.73 / 4.03 / 4.05
//   the same, T = 16                                               2.68 / 3.81 / 3.83
//   the same, T = 8                                                2.65 / 2.88 / 3.77
// the same, T = 4 2.64 / 2.84 / 3.76 memory is read once, in order: kept
//   T = 4, 8 pieces unrolled                                       2.89 / 3.41 / 4.33
//   T = 4, folds shared by vector pairs                            2.63 / 2.82 / 3.84   kept
//   ... and the fold's mask loaded instead of rebuilt by V8        2.50 / 2.66 / 3.67   kept
//   ... and the outer components folded every 16 pieces            2.40 / 2.58 / 3.55   kept
//   ... and Karatsuba for the middle component                     2.08 / 2.18 / 3.18   kept
//   ... and its 4 pieces unrolled                                  2.19 / 2.31 / 3.35
//   Karatsuba folded every 8 pieces (needs centred residues)       1.99 / 2.11 / 3.10   not worth a second residue form
// Winograd's inner product, two products a piece, plain folds 2.12 / 2.33 / 3.35 not worth storing three correction
// polynomials a block
//
// The floor is the shuffles: V8 makes each i64x2.extmul of two unpacks and one multiply. About 1.1 us of the last
// column is the copy itself. Several probes share the copy, but each has as many bytes as a block, so their products
// cost about as much as one probe's.
import initialize from "node-seal";
import asc from "assemblyscript/asc";
import { DEGREE as N } from "@veilface/fhe";
import { RingKernel } from "../fhe/ring/ring-kernel.ts";
import { BlockGallery, GALLERY_BYTES } from "./block-gallery.ts";
import { interleave, quantile, round } from "./figures.ts";
import type { BenchLine } from "./figures.ts";

export const KERNEL_CASES = ["kernel_match"];

const DIMENSION = 128;
const STRIDE = 1;
const ROUNDS = 11;
const SEAL_PRODUCTS_PER_ROUND = 48;
const TEMPLATES_PER_PRODUCT = N / DIMENSION;

const PARAMETER_SETS = [
  { name: "PACKED_N4096_Q30", bits: [30, 30], dataPrimes: 1 },
  { name: "PACKED_N4096_Q60", bits: [30, 30, 20], dataPrimes: 2 },
] as const;
const PROBE_COUNTS = [1, 4];

/** One line of the bench. Rates are of one thread; gb_per_s counts the gallery's bytes once per probe. */
interface KernelFigures extends BenchLine {
  readonly case: string;
  /** How many the gallery holds. */
  readonly templates: number;
  readonly dimension: number;
  readonly parameterSet: string;
  readonly stride: number;
  readonly probes: number;
  readonly templates_per_s: number;
  readonly us_per_product: number;
  readonly gb_per_s: number;
  readonly ratio_to_seal: number;
  readonly ratio_to_plain_read: number;
  readonly seal_us_per_product: number;
  readonly plain_read_gb_per_s: number;
}

/** A measured activity: what does its work once, and how much that is, in the unit of its figure. */
interface Activity {
  readonly amount: number;
  readonly run: () => void;
}

/** Measures every parameter set, with one probe and with several; about five seconds. */
export async function* kernelBench(): AsyncGenerator<KernelFigures> {
  const read = await plainRead();
  for (const set of PARAMETER_SETS) {
    const { primes, multiplyAdd, free } = await sealProducts(set.bits, set.dataPrimes);
    for (const probes of PROBE_COUNTS) {
      const [kernelRate, sealRate, readRate] = await medianRates([kernelProducts(primes, probes), multiplyAdd, read]);
      yield figures(set.name, primes.length, probes, kernelRate!, sealRate!, readRate!);
    }
    free();
  }
}

/** Rates are per second: ciphertext products of the kernel and of SEAL, bytes of the plain read. */
function figures(
  parameterSet: string,
  primes: number,
  probes: number,
  kernelRate: number,
  sealRate: number,
  readRate: number,
): KernelFigures {
  const bytesRate = kernelRate * productBytes(primes);
  return {
    case: "kernel_match",
    templates: (GALLERY_BYTES / productBytes(primes)) * TEMPLATES_PER_PRODUCT,
    dimension: DIMENSION,
    parameterSet,
    stride: STRIDE,
    probes,
    templates_per_s: Math.round(kernelRate * TEMPLATES_PER_PRODUCT),
    us_per_product: round(1e6 / kernelRate),
    gb_per_s: round(bytesRate / 1e9),
    ratio_to_seal: round(kernelRate / sealRate),
    ratio_to_plain_read: round(bytesRate / readRate),
    seal_us_per_product: round(1e6 / sealRate),
    plain_read_gb_per_s: round(readRate / 1e9),
  };
}

/** Bytes of a two-component ciphertext. */
function productBytes(primes: number): number {
  return 2 * primes * N * 4;
}

/** Amounts per second. */
async function medianRates(activities: readonly Activity[]): Promise<number[]> {
  const samples = await interleave(
    ROUNDS,
    activities.map(({ run }) => run),
  );
  return activities.map(({ amount }, k) => (amount * 1e3) / quantile(samples[k]!, 0.5));
}

/** A gallery of random residues; its values do not matter to the time. */
function kernelProducts(primes: readonly number[], probes: number): Activity {
  const blockWords = (DIMENSION * productBytes(primes.length)) / 4;
  const residues = Uint32Array.from({ length: GALLERY_BYTES / 4 }, (_, i) => Math.imul(i, 2_654_435_761) >>> 3);
  const gallery = new BlockGallery(new Uint8Array(residues.buffer), 4 * blockWords);
  const kernel = RingKernel.create(primes, { probes, pieces: probes * DIMENSION });
  kernel.loadProbes(Array.from({ length: probes }, (_, i) => residues.slice(i, i + blockWords)));
  return {
    amount: gallery.blocks * DIMENSION * probes,
    run: () => {
      gallery.match(kernel, () => undefined);
    },
  };
}

/** SEAL's multiply and add of the same ciphertexts in size and form. */
async function sealProducts(
  bits: readonly number[],
  dataPrimes: number,
): Promise<{ primes: number[]; multiplyAdd: Activity; free: () => void }> {
  const seal = await initialize();
  const parameters = new seal.EncryptionParameters(seal.SchemeType.ckks);
  parameters.setPolyModulusDegree(N);
  parameters.setCoeffModulus(seal.CoeffModulus.Create(N, Int32Array.from(bits)));
  const context = new seal.SEALContext(parameters, true, seal.SecLevelType.tc128);
  const keys = new seal.KeyGenerator(context);
  const encryptor = new seal.Encryptor(context, keys.createPublicKey(), keys.secretKey());
  const evaluator = new seal.Evaluator(context);
  using plaintext = new seal.Plaintext();
  new seal.CKKSEncoder(context).encode(new Float64Array(N / 2).fill(0.5), 2 ** 14, plaintext);
  const ciphertexts = Array.from({ length: 2 * SEAL_PRODUCTS_PER_ROUND }, () => {
    const ciphertext = new seal.Ciphertext();
    encryptor.encryptSymmetric(plaintext, ciphertext);
    return ciphertext;
  });
  const sum = new seal.Ciphertext();
  const product = new seal.Ciphertext();
  evaluator.multiply(ciphertexts[0]!, ciphertexts[1]!, sum);
  const run = (): void => {
    for (let i = 0; i < SEAL_PRODUCTS_PER_ROUND; i++) {
      evaluator.multiply(ciphertexts[2 * i]!, ciphertexts[2 * i + 1]!, product);
      evaluator.add(sum, product, sum);
    }
  };
  const free = (): void => {
    for (const ciphertext of [...ciphertexts, sum, product]) ciphertext.delete();
  };
  const primes = Array.from(seal.jsArrayFromVecModulus(parameters.coeffModulus()) as BigUint64Array, Number).slice(
    0,
    dataPrimes,
  );
  return { primes, multiplyAdd: { amount: SEAL_PRODUCTS_PER_ROUND, run }, free };
}

const READ_SOURCE = `
export function read(at: usize, bytes: usize): i64 {
  let a = i64x2.splat(0), b = a, c = a, d = a;
  for (const end = at + bytes; at < end; at += 64) {
    a = i64x2.add(a, v128.load(at)); b = i64x2.add(b, v128.load(at, 16));
    c = i64x2.add(c, v128.load(at, 32)); d = i64x2.add(d, v128.load(at, 48));
  }
  return i64x2.extract_lane(i64x2.add(i64x2.add(a, b), i64x2.add(c, d)), 0);
}`;

interface ReadExports {
  readonly memory: { readonly buffer: ArrayBuffer; grow(pages: number): number };
  read(at: number, bytes: number): bigint;
}

/** Reads as many bytes as the gallery has, and does nothing else with them: the ceiling of any scan. */
async function plainRead(): Promise<Activity> {
  const { binary } = await asc.compileString(READ_SOURCE, {
    optimizeLevel: 3,
    enable: ["simd"],
    runtime: "stub",
    noAssert: true,
  });
  if (!binary) throw new Error("the plain read does not compile");
  const { exports } = await instantiate(binary);
  exports.memory.grow(GALLERY_BYTES / 65_536 + 1);
  new Uint32Array(exports.memory.buffer).fill(1);
  return { amount: GALLERY_BYTES, run: () => void exports.read(0, GALLERY_BYTES) };
}

async function instantiate(binary: Uint8Array): Promise<{ exports: ReadExports }> {
  const { WebAssembly } = globalThis as unknown as {
    WebAssembly: { instantiate(bytes: Uint8Array): Promise<{ instance: { exports: ReadExports } }> };
  };
  return (await WebAssembly.instantiate(binary)).instance;
}

if (import.meta.main) for await (const line of kernelBench()) console.log(JSON.stringify(line));
