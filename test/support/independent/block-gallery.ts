// Galleries of many templates whose vectors do not matter: blocks of 4096 slots.
import type { EnrolledMessage } from "./gallery-fixture.ts";
import { TestGallery, freshId, newPackedContext } from "./gallery-fixture.ts";
import type { IndependentClient } from "./independent-client.ts";
import type { IndependentKey } from "./independent-crypto.ts";
import type { Space } from "./independent-encoding.ts";

const SPACE: Space = { dimension: 8, metric: "METRIC_COSINE", model_id: "model-a", norm_bound: 1 };
/** Of a block at stride 1. */
export const SLOTS = 4096;
/** Any embedding of these galleries. */
export const EMBEDDING = [1, 0, 0, 0, 0, 0, 0, 0];

/** A gallery whose blocks have 4096 slots at stride 1. */
export async function galleryOfBlocks(client: IndependentClient, key: IndependentKey): Promise<TestGallery> {
  const gallery_id = freshId("blocks");
  await client.call("ContextService/CreateContext", newPackedContext(key));
  await client.call("GalleryService/CreateGallery", {
    gallery: { gallery_id, context_id: key.contextId, space: SPACE, packed_stride: 1 },
  });
  return new TestGallery(client, key, SPACE, gallery_id);
}

/** Enrolls a block of templates. Returns the acknowledgement. */
export async function enrollBlock(
  gallery: TestGallery,
  slots: readonly { readonly template_id: string; readonly subject_id: string }[],
): Promise<NonNullable<EnrolledMessage["block"]>> {
  const piece = gallery.template({ template_id: "t", subject_id: "s", embedding: EMBEDDING }).ciphertext;
  const [answer] = await gallery.client.call<EnrolledMessage>(
    "GalleryService/EnrollTemplates",
    { target: gallery.target },
    { block: { stride: 1, slots } },
    { pieces: { pieces: EMBEDDING.map(() => piece) } },
  );
  return answer!.block!;
}
