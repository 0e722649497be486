import type { DeletedTemplates } from "../deletion.ts";
import type { CallOptions } from "../remote/call-bounds.ts";
import type { DeletedIds } from "../remote/gallery-calls.ts";
import type { GalleryInfo, RosterEntry } from "../remote/wire.ts";
import type { PairwiseClient } from "./pairwise-client.ts";
import type {
  EnrollmentSource,
  PairwiseClaim,
  PairwiseEnrollOptions,
  PairwiseMatch,
  PairwiseSearchOptions,
} from "./pairwise-galleries.ts";
import type { PairwiseCiphertext } from "./pairwise-wire.ts";

/**
 * One gallery of a client, made by {@link PairwiseClient.openGallery}: the client's methods without the gallery's id.
 * It holds nothing to close, and ends with its client.
 */
export class PairwiseGallery {
  /** As it was opened. */
  readonly galleryId: string;
  readonly #client: PairwiseClient;

  /** For PairwiseClient.openGallery. */
  constructor(client: PairwiseClient, galleryId: string) {
    this.galleryId = galleryId;
    this.#client = client;
  }

  /** As {@link PairwiseClient.getGallery}. */
  info(options?: CallOptions): Promise<GalleryInfo> {
    return this.#client.getGallery(this.galleryId, options);
  }

  /** As {@link PairwiseClient.deleteGallery}. */
  delete(options?: CallOptions): Promise<void> {
    return this.#client.deleteGallery(this.galleryId, options);
  }

  /** As {@link PairwiseClient.enroll}. */
  enroll(source: EnrollmentSource, options?: PairwiseEnrollOptions): Promise<number> {
    return this.#client.enroll(this.galleryId, source, options);
  }

  /** As {@link PairwiseClient.search}. */
  search(probe: PairwiseCiphertext, options?: PairwiseSearchOptions): AsyncGenerator<PairwiseMatch, void, undefined> {
    return this.#client.search(this.galleryId, probe, options);
  }

  /** As {@link PairwiseClient.compareTemplates}. */
  compareTemplates(
    claim: PairwiseClaim,
    options?: PairwiseSearchOptions,
  ): AsyncGenerator<PairwiseMatch, void, undefined> {
    return this.#client.compareTemplates(this.galleryId, claim, options);
  }

  /** As {@link PairwiseClient.listTemplates}. */
  listTemplates(options?: CallOptions): Promise<RosterEntry[]> {
    return this.#client.listTemplates(this.galleryId, options);
  }

  /** As {@link PairwiseClient.deleteTemplates}. */
  deleteTemplates(ids: DeletedIds, options?: CallOptions): Promise<Omit<DeletedTemplates, "struck">> {
    return this.#client.deleteTemplates(this.galleryId, ids, options);
  }
}
