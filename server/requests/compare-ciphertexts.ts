import { MAX_PAIRWISE_DIMENSION } from "@veilface/fhe";
import type { PairwiseOperation } from "@veilface/fhe";
import type { CompareCiphertextsRequest } from "@veilface/proto";
import { readAll } from "./read-all.ts";
import type { PairwiseEncoding, Envelope } from "../compute/envelope.ts";
import type { GalleryStore, PairwiseScheme } from "../store/gallery-store.ts";
import {
  contextId,
  isContextId,
  normBound,
  pairwiseCiphertext,
  pairwiseOperation,
  pairwiseReplyEncoding,
  required,
} from "./from-wire.ts";
import { fieldInvalid } from "../errors.ts";
import { innerProductBound, squaredDistanceBound } from "../compute/pairwise/gallery-task.ts";
import type { PairwiseMatcher } from "../compute/pairwise/pairwise-matcher.ts";

/** The encrypted result of a comparison. */
export interface ComparedCiphertexts {
  readonly contextId: string;
  readonly encoding: PairwiseEncoding;
  /** Undefined where both are the same ciphertext: their squared distance is 0. */
  readonly product: Envelope | undefined;
}

/** Compares two ciphertexts of a request. Throws ServerError with what is wrong with it. */
export async function compareCiphertexts(
  store: GalleryStore,
  pairwise: PairwiseMatcher,
  request: CompareCiphertextsRequest,
): Promise<ComparedCiphertexts> {
  const named = request.first?.contextId ?? request.second?.contextId ?? "";
  const scheme = isContextId(named) ? pairwiseScheme(store, named) : undefined;
  const { context, reply, ...question } = readAll({
    context: () => contextId("first.context_id", required("first", request.first).contextId),
    first: () => pairwiseCiphertext("first", request.first, named),
    second: () => pairwiseCiphertext("second", request.second, named),
    operation: () => pairwiseOperation("operation", request.operation),
    dimension: () =>
      dimensionWithin(request.dimension, scheme === undefined ? MAX_PAIRWISE_DIMENSION : scheme.degree / 2),
    norm: () => normOf(request.normBound),
    bound: () =>
      scheme && boundOf(pairwiseOperation("operation", request.operation), normOf(request.normBound), scheme),
    reply: () => pairwiseReplyEncoding("reply_encoding", request.replyEncoding),
  });
  const encoding = reply ?? question.first.encoding;
  const product = await pairwise.compare({ context: store.contextLocation(context), ...question, encoding });
  return { contextId: context, encoding, product };
}

function dimensionWithin(value: number, slots: number): number {
  if (value < 0 || value > slots)
    throw fieldInvalid("dimension", `is ${value}: expected 1 to ${slots}, the slots of a ciphertext`);
  return value;
}

function pairwiseScheme(store: GalleryStore, context: string): PairwiseScheme {
  const { scheme } = store.getContext(context);
  if (scheme.kind === "pairwise") return scheme;
  throw fieldInvalid(
    "first.context_id",
    "is a context of the packed scheme: its templates are compared in galleries, by CompareTemplates and SearchGallery",
    "SCHEME_MISMATCH",
  );
}

/** Undefined if it is not known. */
function normOf(value: number): number | undefined {
  return value === 0 ? undefined : normBound("norm_bound", value);
}

function boundOf(
  operation: PairwiseOperation,
  norm: number | undefined,
  { maxDistance }: PairwiseScheme,
): number | undefined {
  if (norm === undefined) return undefined;
  const bound = operation === "SQUARED_DISTANCE" ? squaredDistanceBound(norm) : innerProductBound(norm);
  if (bound > maxDistance)
    throw fieldInvalid("norm_bound", `allows results up to ${bound}, but the context's largest is ${maxDistance}`);
  return bound;
}
