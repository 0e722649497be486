import { USUAL_TEMPLATES, encodedDimension, searchSeconds } from "@veilface/fhe";
import type { ParameterSet } from "@veilface/fhe";
import type { GalleryInfo } from "./wire.ts";

/** How an enrollment packs templates into blocks. */
export interface Packing {
  /** The stride of its blocks. */
  readonly stride: number;
  /**
   * Whether so many templates, fewer than a block holds and all that there are, are better packed than enrolled alone.
   */
  readonly packsFew: (templates: number) => boolean;
}

/** Packs whatever takes fewer ciphertexts in a block: where somebody chose the stride for what is to come. */
export function packingAt(stride: number): Packing | undefined {
  return stride === 0 ? undefined : { stride, packsFew: () => true };
}

/**
 * How templates are packed into a gallery; undefined where its server packs none. In one whose size nobody told and
 * that has no packed block yet, few templates are enrolled alone where searches are quicker so: each would send a
 * probe's many pieces for a single block, and every verification too. `set`: of the gallery's key.
 */
export function packingOf(
  { space, strides, packedStride, expectedTemplates }: GalleryInfo,
  set: ParameterSet,
): Packing | undefined {
  const dimension = encodedDimension(space);
  if (expectedTemplates !== USUAL_TEMPLATES || strides.includes(packedStride)) return packingAt(packedStride);
  const seconds = (stride: number, templates: number): number => searchSeconds(set, dimension, stride, templates);
  return packedStride === 0
    ? undefined
    : {
        stride: packedStride,
        packsFew: (templates) => seconds(packedStride, templates) < seconds(dimension, templates),
      };
}
