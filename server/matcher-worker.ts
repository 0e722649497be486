import { hash, timingSafeEqual } from "node:crypto";
import { CiphertextCodec, FheError, RingKernel, loadPublicSeal, parameterSet, toTiles } from "@veilface/fhe";
import type { FheErrorReason, ParameterSetName } from "@veilface/fhe";
import { move, transferableSymbol, valueSymbol } from "piscina";
import { ServerError } from "./errors.ts";
import type { BlockTask, MatchBlocks, Outcome, PrepareProbe, PrepareTemplate, Product } from "./matcher-task.ts";
import type { BlockReader } from "./store/gallery-store.ts";
import { openBlockReader } from "./store/lmdb-block-reader.ts";
import type { SealedBytes } from "./validate.ts";

/** What one worker thread keeps for a parameter set. */
interface Ring {
  readonly kernel: RingKernel;
  readonly codec: CiphertextCodec;
  /** Pieces of the largest probe that the kernel has room for. */
  readonly room: number;
  loadedProbe: number | undefined;
}

const seal = await loadPublicSeal();
const rings = new Map<ParameterSetName, Ring>();
const readers = new Map<string, BlockReader>();

/** Worker task: residues of a checked template, at its slot. */
export function prepareTemplate(task: PrepareTemplate): Outcome<Uint8Array> {
  return outcome(() => {
    const { kernel, codec } = ringFor(task.parameterSet, 1);
    const residues = kernel.multiplyByMonomial(open(codec, task.ciphertext), task.exponent);
    return new Uint8Array(residues.buffer);
  }, (residues) => [residues.buffer]);
}

/** Worker task: a checked probe, tile-major. */
export function prepareProbe(task: PrepareProbe): Outcome<SharedArrayBuffer> {
  return outcome(() => {
    const { codec } = ringFor(task.parameterSet, task.pieces.length);
    const tiles = toTiles(task.pieces.map((piece) => open(codec, piece)));
    const shared = new SharedArrayBuffer(tiles.byteLength);
    new Uint32Array(shared).set(tiles);
    return shared;
  });
}

/** Worker task: products of blocks with a probe. Blocks whose templates are all gone by now are passed over. */
export function matchBlocks(task: MatchBlocks): Outcome<Product[]> {
  return outcome(() => {
    const ring = ringFor(task.parameterSet, task.probe.pieces);
    if (ring.loadedProbe !== task.probe.id) {
      ring.kernel.loadProbes([new Uint32Array(task.probe.tiles)]);
      ring.loadedProbe = task.probe.id;
    }
    const cancelled = new Int32Array(task.cancelled);
    return task.blocks.flatMap((block) => (Atomics.load(cancelled, 0) === 0 ? matchBlock(ring, task, block) : []));
  }, (products) => products.map((product) => product.data.buffer as ArrayBuffer));
}

function matchBlock({ kernel, codec }: Ring, task: MatchBlocks, { block, stride, slots }: BlockTask): Product[] {
  const sum = sumLoose(kernel, task, block, slots);
  if (sum === undefined) return [];
  const [product] = kernel.matchBlock([toTiles([sum])]);
  const data = codec.serialise(task.encoding, product!);
  return [{ block, stride, data, sha256: Uint8Array.from(hash("sha256", data, "buffer")) }];
}

/** The sum of a block's live templates; undefined if there are none. */
function sumLoose(kernel: RingKernel, { location }: MatchBlocks, block: number, slots: readonly number[] | undefined): Uint32Array | undefined {
  const templates = readerFor(location.path).looseTemplates(location.gallery, block, slots)[Symbol.iterator]();
  const first = templates.next();
  if (first.done === true) return undefined;
  return kernel.sum(residuesFrom(first.value, templates));
}

function* residuesFrom(first: { residues: Uint8Array }, rest: Iterator<{ residues: Uint8Array }>): Generator<Uint8Array> {
  for (let step: IteratorResult<{ residues: Uint8Array }> = { value: first }; step.done !== true; step = rest.next()) yield step.value.residues;
}

// The digest is compared first: it tells damage in transit from bytes that never were a ciphertext.
function open(codec: CiphertextCodec, { field, encoding, data, sha256 }: SealedBytes): Uint32Array {
  if (!timingSafeEqual(hash("sha256", data, "buffer"), sha256)) {
    throw dataInvalid(field, "CIPHERTEXT_CORRUPT", "the ciphertext's bytes do not have the SHA-256 that came with them: send it again");
  }
  try {
    return codec.parseFresh(encoding, data);
  } catch (error) {
    throw error instanceof FheError ? dataInvalid(field, error.reason, error.message) : error;
  }
}

function dataInvalid(field: string, reason: FheErrorReason, description: string): ServerError {
  return new ServerError(reason, description, { violations: [{ field: `${field}.data`, description }] });
}

function ringFor(name: ParameterSetName, pieces: number): Ring {
  const existing = rings.get(name);
  if (existing !== undefined && existing.room >= pieces) return existing;
  existing?.codec[Symbol.dispose]();
  const set = parameterSet(name);
  const kernel = RingKernel.create(set.dataPrimes, { probes: 1, pieces });
  const ring = { kernel, codec: new CiphertextCodec(seal, kernel, set), room: pieces, loadedProbe: undefined };
  rings.set(name, ring);
  return ring;
}

function readerFor(path: string): BlockReader {
  let reader = readers.get(path);
  if (reader === undefined) {
    reader = openBlockReader(path);
    readers.set(path, reader);
  }
  return reader;
}

function outcome<T>(run: () => T, transfer: (value: T) => ArrayBuffer[] = () => []): Outcome<T> {
  try {
    const value = run();
    // Piscina hands over the buffers instead of copying them, and gives the pool `value` alone.
    return move({ [transferableSymbol]: transfer(value), [valueSymbol]: { value } }) as never;
  } catch (error) {
    if (error instanceof FheError) return { fheError: { reason: error.reason, message: error.message } };
    if (error instanceof ServerError) return { serverError: { reason: error.reason, message: error.message, violations: error.violations } };
    throw error;
  }
}

/** Worker task: nothing; it answers once the thread has loaded this module. */
export function ready(): undefined {
  return undefined;
}
