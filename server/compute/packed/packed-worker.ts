import { CiphertextCodec, RingKernel, fromTiles, loadPublicSeal, parameterSet, toTiles } from "@veilface/fhe";
import type { ParameterSetName } from "@veilface/fhe";
import { BLOCKS_PER_TASK, allCancelled } from "../block-task.ts";
import { MAX_PROBES } from "./packed-task.ts";
import type { BlockTask } from "../block-task.ts";
import type {
  MatchBlocks,
  MatchedBlock,
  PrepareBlock,
  PrepareProbe,
  PrepareTemplate,
  PreparedProbe,
  SerializePieces,
} from "./packed-task.ts";
import { ServerError } from "../../errors.ts";
import { envelopeOf, openEnvelope } from "../envelope.ts";
import type { CiphertextEnvelope, Envelope } from "../envelope.ts";
import type { LooseResidues } from "../../store/gallery-store.ts";
import { LARGEST_CHUNK_BYTES } from "../../store/lmdb/rows/packed-chunks.ts";
import { outcome } from "../worker-outcome.ts";
import type { Outcome } from "../worker-outcome.ts";
import { readerFor } from "../worker-readers.ts";
import { zip } from "../../zip.ts";

/** What one worker thread keeps for a parameter set. */
interface Ring {
  readonly kernel: RingKernel;
  readonly codec: CiphertextCodec;
  /** Pieces of probes that the kernel has room for. */
  readonly room: number;
  /** Ids of the probes that the kernel has loaded, in order. */
  loadedProbes: string | undefined;
}

const seal = await loadPublicSeal();
const rings = new Map<ParameterSetName, Ring>();

/** Worker task: residues of a checked template, at its slot. */
export function prepareTemplate(task: PrepareTemplate): Outcome<Uint8Array> {
  return outcome(
    () => {
      const { kernel, codec } = ringFor(task.parameterSet, 1);
      const residues = kernel.multiplyByMonomial(open(codec, task.ciphertext), task.exponent);
      return new Uint8Array(residues.buffer);
    },
    (residues) => [residues.buffer],
  );
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

/** Worker task: a block that the client packed, tile-major. */
export function prepareBlock(task: PrepareBlock): Outcome<Uint8Array> {
  return outcome(
    () => {
      const { codec } = ringFor(task.parameterSet, 1);
      return new Uint8Array(toTiles(task.pieces.map((piece) => open(codec, piece))).buffer);
    },
    (tiles) => [tiles.buffer],
  );
}

/** Worker task: stored residues as packed residues of whole ciphertexts, in the order of the pieces. */
export function serializePieces(task: SerializePieces): Outcome<Envelope[]> {
  return outcome(
    () => {
      const { codec } = ringFor(task.parameterSet, 1);
      const bytes = Buffer.concat(task.chunks);
      const residues = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      const pieces = task.tiledPieces === undefined ? [residues] : fromTiles(residues, task.tiledPieces);
      return pieces.map((piece) => envelopeOf(codec.serialize("PACKED_RESIDUES", piece)));
    },
    (pieces) => pieces.map(({ data }) => data.buffer),
  );
}

/** Worker task: products of blocks with probes. Blocks whose templates are all gone by now are passed over. */
export function matchBlocks(task: MatchBlocks): Outcome<MatchedBlock[]> {
  return outcome(
    () => {
      const ring = ringFor(
        task.parameterSet,
        task.probes.reduce((sum, { pieces }) => sum + pieces, 0),
      );
      loadProbes(ring, task.probes);
      return matchAbreast(ring, task);
    },
    (blocks) => blocks.flatMap(({ products }) => products.map(({ data }) => data.buffer)),
  );
}

function loadProbes(ring: Ring, probes: readonly PreparedProbe[]): void {
  const ids = probes.map(({ id }) => id).join();
  if (ring.loadedProbes === ids) return;
  ring.kernel.loadProbes(probes.map(({ tiles }) => new Uint32Array(tiles)));
  ring.loadedProbes = ids;
}

/** Matches blocks side by side; one by one where a packed one of them turns out to be damaged. */
function matchAbreast(ring: Ring, task: MatchBlocks): MatchedBlock[] {
  try {
    const live = task.blocks.map((block) => readBlock(ring.kernel, task, block)).filter((read) => read !== undefined);
    const lost = live.filter(({ tiles }) => tiles === undefined).map(lostBlock);
    const readable = live.filter(({ tiles }) => tiles !== undefined);
    return [...lost, ...multiply(ring, task, readable)];
  } catch (error) {
    if (!(error instanceof ServerError && error.reason === "STORED_CORRUPT")) throw error;
    if (task.blocks.length === 1) return task.blocks.map((block) => ({ ...block, products: [], damagedSlots: [] }));
    return task.blocks.flatMap((block) => matchAbreast(ring, { ...task, blocks: [block] }));
  }
}

function lostBlock({ block: { block, stride }, damagedSlots }: ReadBlock): MatchedBlock {
  return { block, stride, products: [], damagedSlots };
}

function multiply({ kernel, codec }: Ring, task: MatchBlocks, blocks: readonly ReadBlock[]): MatchedBlock[] {
  const cancelled = new Int32Array(task.cancelled);
  const tiles = blocks.map((read) => checked(read.tiles ?? [], cancelled));
  const products = unlessCancelled(() => kernel.matchBlocks(tiles)) ?? [];
  return Array.from(zip(blocks, products), ([read, ofBlock]) => {
    const { block, stride } = read.block;
    const answers = zip(task.encodings, ofBlock);
    const envelopes = Array.from(answers, ([encoding, product]) => envelopeOf(codec.serialize(encoding, product)));
    return { block, stride, products: envelopes, damagedSlots: read.damagedSlots };
  });
}

/** A block on its way to be multiplied. */
interface ReadBlock {
  readonly block: BlockTask;
  /** Undefined where all of its templates are damaged. */
  readonly tiles: Iterable<Uint8Array | Uint32Array> | undefined;
  readonly damagedSlots: readonly number[];
}

/** Undefined if none of a block's templates is there any more. */
function readBlock(kernel: RingKernel, { location }: MatchBlocks, block: BlockTask): ReadBlock | undefined {
  const reader = readerFor(location.path);
  switch (reader.blockKind(location.gallery, block.block)) {
    case "packed":
      return { block, tiles: reader.packedChunks(location.gallery, block.block, kernel.chunkBuffer), damagedSlots: [] };
    case "loose":
      return readLoose(kernel, block, reader.looseTemplates(location.gallery, block.block, block.slots));
    case undefined:
      return undefined;
  }
}

/** A loose block is the sum of its live templates. */
function readLoose(kernel: RingKernel, block: BlockTask, live: Iterable<LooseResidues>): ReadBlock | undefined {
  const damagedSlots: number[] = [];
  const sum = sumLoose(kernel, soundOf(live, damagedSlots));
  if (sum === undefined && damagedSlots.length === 0) return undefined;
  return { block, tiles: sum && [toTiles([sum])], damagedSlots };
}

/** The residues of those that are whole; the slots of the others go into `damaged`. */
function* soundOf(live: Iterable<LooseResidues>, damaged: number[]): Generator<Uint8Array> {
  for (const { slot, residues } of live) {
    if (residues === undefined) damaged.push(slot);
    else yield residues;
  }
}

class Cancelled extends Error {}

/** The same chunks as long as anybody waits for the result; a chunk takes about a millisecond. */
function* checked<T>(chunks: Iterable<T>, cancelled: Int32Array): Generator<T> {
  for (const chunk of chunks) {
    if (allCancelled(cancelled)) throw new Cancelled();
    yield chunk;
  }
}

function unlessCancelled<R>(run: () => R): R | undefined {
  try {
    return run();
  } catch (error) {
    if (error instanceof Cancelled) return undefined;
    throw error;
  }
}

/** The sum of templates; undefined if there are none. */
function sumLoose(kernel: RingKernel, live: Iterable<Uint8Array>): Uint32Array | undefined {
  const templates = live[Symbol.iterator]();
  const first = templates.next();
  if (first.done === true) return undefined;
  return kernel.sum(startingWith(first.value, templates));
}

function* startingWith(first: Uint8Array, rest: Iterator<Uint8Array>): Generator<Uint8Array> {
  for (let step: IteratorResult<Uint8Array> = { value: first }; step.done !== true; step = rest.next())
    yield step.value;
}

function open(codec: CiphertextCodec, ciphertext: CiphertextEnvelope): Uint32Array {
  return openEnvelope(ciphertext, (data) => codec.parseFresh(ciphertext.encoding, data));
}

function ringFor(name: ParameterSetName, pieces: number): Ring {
  const existing = rings.get(name);
  if (existing !== undefined && existing.room >= pieces) return existing;
  existing?.codec[Symbol.dispose]();
  const set = parameterSet(name);
  const kernel = RingKernel.create(set.dataPrimes, {
    probes: Math.min(pieces, MAX_PROBES),
    pieces,
    blocks: BLOCKS_PER_TASK,
    chunkBytes: LARGEST_CHUNK_BYTES,
  });
  const ring = { kernel, codec: new CiphertextCodec(seal, kernel, set), room: pieces, loadedProbes: undefined };
  rings.set(name, ring);
  return ring;
}
