import type { GalleryInfo } from "@veilface/client";

/** A gallery as JSON. */
export function describe({ space, createTime, ...gallery }: GalleryInfo): Record<string, unknown> {
  return { ...gallery, ...space, createTime: createTime.toISOString() };
}
