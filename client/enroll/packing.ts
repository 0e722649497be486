import { USUAL_TEMPLATES, chooseStride, encodedDimension, searchSeconds } from "@veilface/fhe";
import type { ParameterSet } from "@veilface/fhe";
import type { GalleryInfo } from "../remote/wire.ts";

/** How an enrollment packs templates into blocks. */
export interface Packing {
  /** The stride of its blocks. */
  readonly stride: number;
  /** Whether so many templates, fewer than a block holds and all that come, are better packed than enrolled alone. */
  readonly packsFew: (templates: number) => boolean;
}

/** Packs whatever takes fewer ciphertexts in a block: where somebody chose the stride for what is to come. */
export function packingAt(stride: number): Packing | undefined {
  return stride === 0 ? undefined : { stride, packsFew: () => true };
}

/**
 * Whether somebody wished for the gallery's packed stride, as far as it can be told: it is not that which the server
 * chooses for the gallery's expected size. `set`: of the gallery's key.
 */
export function isStrideWished({ space, packedStride, expectedTemplates }: GalleryInfo, set: ParameterSet): boolean {
  return packedStride !== chooseStride(set, encodedDimension(space), expectedTemplates || USUAL_TEMPLATES);
}

/**
 * How templates are packed into a gallery; undefined where its server packs none. In one whose size and stride nobody
 * told and that has no packed block yet, few templates are enrolled alone as long as searches among all are quicker so:
 * each would send a probe's many pieces for a single block, and every verification too. `set`: of the gallery's key.
 */
export function packingOf(gallery: GalleryInfo, set: ParameterSet): Packing | undefined {
  const { strides, packedStride: stride, expectedTemplates, templateCount } = gallery;
  const isTold = expectedTemplates !== USUAL_TEMPLATES || isStrideWished(gallery, set);
  if (stride === 0 || isTold || strides.includes(stride)) return packingAt(stride);
  const dimension = encodedDimension(gallery.space);
  const seconds = (at: number, few: number): number =>
    searchSeconds({ set, dimension, templates: templateCount + few }, at);
  return { stride, packsFew: (templates) => seconds(stride, templates) < seconds(dimension, templates) };
}
