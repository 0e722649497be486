import type { ServerErrorReason } from "../errors.ts";
import type { Envelope } from "./envelope.ts";

/** Which of the probes that are compared together; the first one, 0, unless given. */
interface OfProbe {
  readonly probe?: number;
}

/** A block without an encrypted distance: the probe's own ciphertext, at distance 0, or one that cannot be compared. */
export interface Uncompared extends OfProbe {
  readonly block: number;
  readonly stride: number;
  readonly because: "IDENTICAL" | "INTERNAL" | ServerErrorReason;
}

/** The encrypted distances of one block to a probe. */
interface Product extends Envelope, OfProbe {
  readonly block: number;
  readonly stride: number;
  /** Slots whose templates are damaged on disk: the product goes without them. */
  readonly damagedSlots?: readonly number[];
}

/** What a probe's comparison with one block gives. In the pairwise scheme a block is one template. */
export type BlockAnswer = Product | Uncompared;
