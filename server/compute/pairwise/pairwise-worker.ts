import {
  FheError,
  PairwiseEvaluator,
  checkRotationSteps,
  loadPublicSeal,
  loadedKeyBytes,
  readEncryptionParameters,
  withScale,
} from "@veilface/fhe";
import type { PairwiseTask } from "@veilface/fhe";
import type { BlockAnswer, Uncompared } from "../block-answer.ts";
import { ServerError, storedCorrupt } from "../../errors.ts";
import { allCancelled } from "../block-task.ts";
import { inField, envelopeOf, openEnvelope } from "../envelope.ts";
import type { PairwiseEncoding, CiphertextEnvelope, Envelope } from "../envelope.ts";
import type { ContextLocation } from "../../store/gallery-store.ts";
import { fieldInvalid } from "../../errors.ts";
import { outcome } from "../worker-outcome.ts";
import type { Outcome } from "../worker-outcome.ts";
import { readerFor } from "../worker-readers.ts";
import { admit } from "./admission.ts";
import type {
  AdmittedContext,
  CompareVectors,
  CompareWithTemplates,
  PrepareVector,
  UploadedKeys,
} from "./pairwise-task.ts";
import { decodeCkksVector, encodeCkksVector } from "./tenseal.ts";

/** A context whose keys are loaded. */
interface OpenContext {
  readonly evaluator: PairwiseEvaluator;
  readonly rotationSteps: readonly number[];
  readonly keyBytes: number;
}

type Ciphertext = ReturnType<PairwiseEvaluator["open"]>;

interface Pair {
  readonly evaluator: PairwiseEvaluator;
  readonly first: Ciphertext;
  readonly second: Ciphertext;
}

/** A probe that is compared with templates. */
interface Scanning {
  readonly evaluator: PairwiseEvaluator;
  readonly probe: Ciphertext;
  readonly task: CompareWithTemplates;
}

/** What a template is answered with, its place apart. */
type Answer = Envelope | Pick<Uncompared, "because">;

/**
 * Memory for loaded keys, per worker; the keys of the tutorial's parameters are 20 MB. The context in use is kept
 * whatever its size.
 */
const MAX_LOADED_KEY_BYTES = 256 * 2 ** 20;

const seal = await loadPublicSeal();
/** By context id, the one used last at the end. */
const contexts = new Map<string, OpenContext>();

/** Worker task: everything of an uploaded context, checked. */
export function admitContext(uploaded: UploadedKeys): Outcome<AdmittedContext> {
  return outcome(
    () => admit(seal, uploaded),
    ({ keys }) => [keys.relinKeys.buffer, keys.galoisKeys.buffer],
  );
}

/** Worker task: the bytes of a checked vector as they are stored, and compared. */
export function prepareVector({ context, ciphertext, dimension }: PrepareVector): Outcome<Uint8Array> {
  return outcome(
    () => {
      const { evaluator } = contextFor(context);
      using vector = openVector(evaluator, ciphertext);
      if (vector.dimension !== undefined && vector.dimension !== dimension) {
        throw fieldInvalid(
          `${ciphertext.field}.data`,
          `has ${vector.dimension} components, but the gallery's embeddings have ${dimension}`,
        );
      }
      return evaluator.save(vector.ciphertext);
    },
    (bytes) => [bytes.buffer],
  );
}

/** Worker task: two ciphertexts compared; undefined where both are the same one, at distance 0. */
export function compareVectors(task: CompareVectors): Outcome<Envelope | undefined> {
  return outcome(() => {
    const { evaluator, rotationSteps } = contextFor(task.context);
    using first = openVector(evaluator, task.first);
    using second = openVector(evaluator, task.second);
    const dimension = commonDimension(task.dimension, [first, second]);
    if (dimension > evaluator.slots)
      throw fieldInvalid("dimension", `is ${dimension}: expected 1 to ${evaluator.slots}, the slots of a ciphertext`);
    inField("dimension", () => {
      checkRotationSteps(rotationSteps, dimension);
    });
    const { operation, bound } = task;
    const pair = { evaluator, first: first.ciphertext, second: second.ciphertext };
    const result = inField("second.data", () => comparePair(pair, { operation, dimension, bound }));
    return result && resultEnvelope(evaluator, task.encoding, result);
  });
}

/**
 * Worker task: a probe compared with templates; those that are gone are passed over, and one that fails fails alone.
 */
export function compareWithTemplates(task: CompareWithTemplates): Outcome<BlockAnswer[]> {
  return outcome(() => {
    const { evaluator } = contextFor(task.context);
    const cancelled = new Int32Array(task.cancelled);
    using probe = evaluator.open(new Uint8Array(task.probe));
    return task.blocks.flatMap(({ block, stride }) => {
      const answer = allCancelled(cancelled) ? undefined : compareBlock({ evaluator, probe, task }, block);
      return answer === undefined ? [] : [{ block, stride, ...answer }];
    });
  });
}

function compareBlock({ evaluator, probe, task }: Scanning, block: number): Answer | undefined {
  try {
    const template = templateOf(task, block);
    if (template === undefined) return undefined;
    using stored = evaluator.open(template);
    const result = comparePair({ evaluator, first: probe, second: stored }, task.task);
    return result === undefined ? { because: "IDENTICAL" } : resultEnvelope(evaluator, task.encoding, result);
  } catch (error) {
    const because = reasonOfTemplate(error);
    if (because === undefined) throw error;
    return { because };
  }
}

/** Why one template fails; undefined for what is not its own: the gallery is gone, or the server is at fault. */
function reasonOfTemplate(error: unknown): Uncompared["because"] | undefined {
  if (error instanceof ServerError) return error.reason === "STORED_CORRUPT" ? error.reason : undefined;
  if (!(error instanceof FheError)) return undefined;
  if (error.reason === "SEAL_FAILED") return "INTERNAL";
  // Templates are checked before they are stored.
  return error.reason === "CIPHERTEXT_TRANSPARENT" ? error.reason : "STORED_CORRUPT";
}

/** The encrypted result; undefined where both are one ciphertext, whose squared distance is 0 and hides nothing. */
function comparePair({ evaluator, first, second }: Pair, task: PairwiseTask): Uint8Array | undefined {
  try {
    return evaluator.compare(task, first, second);
  } catch (error) {
    const transparent = error instanceof FheError && error.reason === "CIPHERTEXT_TRANSPARENT";
    if (transparent && evaluator.same(first, second)) return undefined;
    throw error;
  }
}

/** Undefined for one that is gone. Throws ServerError STORED_CORRUPT. */
function templateOf({ location }: CompareWithTemplates, block: number): Uint8Array | undefined {
  const [stored] = readerFor(location.path).looseTemplates(location.gallery, block);
  if (stored !== undefined && stored.residues === undefined) throw storedCorrupt(`the template of block ${block}`);
  return stored?.residues;
}

/** A vector of a request. Owns its ciphertext. */
interface Vector extends Disposable {
  readonly field: string;
  readonly ciphertext: Ciphertext;
  /** Undefined where the encoding does not say it. */
  readonly dimension: number | undefined;
}

function openVector(evaluator: PairwiseEvaluator, received: CiphertextEnvelope<PairwiseEncoding>): Vector {
  return openEnvelope(received, (data) => {
    const vector =
      received.encoding === "TENSEAL_CKKS_VECTOR" ? decodeCkksVector(data) : { ciphertext: data, dimension: undefined };
    const ciphertext = evaluator.open(vector.ciphertext);
    return {
      field: received.field,
      ciphertext,
      dimension: vector.dimension,
      [Symbol.dispose]: () => {
        ciphertext.delete();
      },
    };
  });
}

function commonDimension(asked: number, vectors: readonly Vector[]): number {
  const said = vectors.filter(({ dimension }) => dimension !== undefined);
  const [first] = said;
  const dimension = asked === 0 ? first?.dimension : asked;
  if (dimension === undefined)
    throw fieldInvalid("dimension", "is required where neither ciphertext is a TenSEAL vector, which says it");
  const other = said.find((vector) => vector.dimension !== dimension);
  if (other === undefined) return dimension;
  const where = asked === 0 && first !== undefined ? ` in ${first.field}` : "";
  throw fieldInvalid("dimension", `is ${dimension}${where}, but ${other.field} has ${other.dimension} components`);
}

function resultEnvelope(evaluator: PairwiseEvaluator, encoding: PairwiseEncoding, result: Uint8Array): Envelope {
  return envelopeOf(encoding === "TENSEAL_CKKS_VECTOR" ? encodeCkksVector(result, evaluator.resultScale) : result);
}

function contextFor(location: ContextLocation): OpenContext {
  const open = contexts.get(location.contextId) ?? load(location);
  contexts.delete(location.contextId);
  contexts.set(location.contextId, open);
  return open;
}

function load({ path, contextId }: ContextLocation): OpenContext {
  const { scheme, keys } = readerFor(path).pairwiseContext(contextId);
  const parameters = withScale(readEncryptionParameters(seal, scheme.parameters), scheme.scale);
  const keyBytes = loadedKeyBytes(parameters, 1 + scheme.rotationSteps.length);
  makeRoom(keyBytes);
  using owned = new DisposableStack();
  const evaluator = owned.use(new PairwiseEvaluator(seal, parameters));
  evaluator.loadKeys(keys);
  owned.move();
  return { evaluator, rotationSteps: scheme.rotationSteps, keyBytes };
}

function makeRoom(bytes: number): void {
  let loaded = bytes + contexts.values().reduce((sum, { keyBytes }) => sum + keyBytes, 0);
  for (const [contextId, { evaluator, keyBytes }] of contexts) {
    if (loaded <= MAX_LOADED_KEY_BYTES) return;
    evaluator[Symbol.dispose]();
    contexts.delete(contextId);
    loaded -= keyBytes;
  }
}
