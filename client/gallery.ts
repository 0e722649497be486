import type {
  Claim,
  IdentifyOptions,
  ModelOption,
  PackGalleryOptions,
  Verification,
  VerifyOptions,
} from "./client-options.ts";
import type { DeletedTemplates } from "./deletion.ts";
import type { EnrollOptions } from "./enroll/enrollment-stream.ts";
import type { Enrollment } from "./enroll/unit-maker.ts";
import type { Candidate } from "./match/rank-candidates.ts";
import type { CallOptions } from "./remote/call-bounds.ts";
import type { DeletedIds, GalleryChanges } from "./remote/gallery-calls.ts";
import type { GalleryInfo, RosterEntry, SubjectInfo } from "./remote/wire.ts";
import type { RewrittenGallery } from "./rewrite/rewrite-gallery.ts";
import type { VeilfaceClient } from "./veilface-client.ts";

/** What a handle stands for: a gallery by its id, and the model that its opener named. */
export interface OpenedGallery extends ModelOption {
  /** The gallery's id. */
  readonly galleryId: string;
}

/**
 * One gallery of a client, made by {@link VeilfaceClient.openGallery}: the client's methods without the gallery's id,
 * and with the model that was named at opening. It holds nothing to close, and ends with its client; a gallery that is
 * packed, or deleted and created again under its id, is still the one it names.
 */
export class Gallery {
  /** As it was opened. */
  readonly galleryId: string;
  readonly #client: VeilfaceClient;
  readonly #model: ModelOption;

  /** For VeilfaceClient.openGallery. */
  constructor(client: VeilfaceClient, { galleryId, ...model }: OpenedGallery) {
    this.galleryId = galleryId;
    this.#client = client;
    this.#model = model;
  }

  /** As {@link VeilfaceClient.getGallery}. */
  info(options?: CallOptions): Promise<GalleryInfo> {
    return this.#client.getGallery(this.galleryId, options);
  }

  /** As {@link VeilfaceClient.updateGallery}. */
  update(changes: GalleryChanges, options?: CallOptions): Promise<GalleryInfo> {
    return this.#client.updateGallery(this.galleryId, changes, options);
  }

  /** As {@link VeilfaceClient.deleteGallery}. */
  delete(options?: CallOptions): Promise<void> {
    return this.#client.deleteGallery(this.galleryId, options);
  }

  /** As {@link VeilfaceClient.enroll}. */
  enroll(
    source: AsyncIterable<Enrollment> | Iterable<Enrollment>,
    options?: EnrollOptions & ModelOption,
  ): Promise<number> {
    return this.#client.enroll(this.galleryId, source, { ...this.#model, ...options });
  }

  /** As {@link VeilfaceClient.verify}. */
  verify(claim: Claim, options: VerifyOptions): Promise<Verification> {
    return this.#client.verify(this.galleryId, claim, { ...this.#model, ...options });
  }

  /** As {@link VeilfaceClient.identify}. */
  identify(embedding: ArrayLike<number>, options?: IdentifyOptions): Promise<Candidate[]> {
    return this.#client.identify(this.galleryId, embedding, { ...this.#model, ...options });
  }

  /** As {@link VeilfaceClient.identifyMany}. */
  identifyMany(embeddings: readonly ArrayLike<number>[], options?: IdentifyOptions): Promise<Candidate[][]> {
    return this.#client.identifyMany(this.galleryId, embeddings, { ...this.#model, ...options });
  }

  /** As {@link VeilfaceClient.listTemplates}. */
  listTemplates(options?: CallOptions): Promise<RosterEntry[]> {
    return this.#client.listTemplates(this.galleryId, options);
  }

  /** As {@link VeilfaceClient.listSubjects}. */
  listSubjects(options?: CallOptions): Promise<SubjectInfo[]> {
    return this.#client.listSubjects(this.galleryId, options);
  }

  /** As {@link VeilfaceClient.deleteTemplates}. */
  deleteTemplates(ids: DeletedIds, options?: CallOptions): Promise<DeletedTemplates> {
    return this.#client.deleteTemplates(this.galleryId, ids, options);
  }

  /** As {@link VeilfaceClient.packGallery}. */
  pack(options?: PackGalleryOptions): Promise<RewrittenGallery> {
    return this.#client.packGallery(this.galleryId, options);
  }

  /** As {@link VeilfaceClient.discardDrafts}. */
  discardDrafts(options?: CallOptions): Promise<number> {
    return this.#client.discardDrafts(this.galleryId, options);
  }
}
