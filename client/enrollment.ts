import type { EnrollTemplatesRequest } from "@veilface/proto";
import { Watchdog, translate } from "./calls.ts";
import type { CallOptions } from "./calls.ts";
import type { Services } from "./channel.ts";
import type { KeyHolder } from "./key-holder.ts";
import { checkId } from "./ids.ts";
import type { PackedCrypto } from "./packed-crypto.ts";
import { fromLiveWireEntry, invalidReply, toWireCiphertext, toWireSpace } from "./wire.ts";
import type { GalleryInfo, RosterEntry } from "./wire.ts";

/** A template to enroll. Ids: 1 to 64 of a-z, 0-9 and "-". An id that the gallery has is replaced. */
export interface Enrollment {
  readonly templateId: string;
  readonly subjectId: string;
  /** The gallery's dimension of finite numbers. */
  readonly embedding: ArrayLike<number>;
}

export interface EnrollOptions extends CallOptions {
  /** Called for each template once it is durable, with how many are so far. */
  readonly onProgress?: (enrolled: number, entry: RosterEntry) => void;
  /** How many templates may be sent and not yet acknowledged, >= 1; 64 by default, about 4 MB. */
  readonly maxInFlight?: number;
}

const DEFAULT_MAX_IN_FLIGHT = 64;

type Source = AsyncIterable<Enrollment> | Iterable<Enrollment>;

/** One enrollment stream: encrypts and sends as the source yields, bounded by what the server has acknowledged. */
export class EnrollmentStream {
  readonly #services: Services;
  readonly #keyHolder: KeyHolder;
  readonly #crypto: PackedCrypto;
  readonly #gallery: GalleryInfo;
  readonly #maxInFlight: number;
  readonly #onProgress: EnrollOptions["onProgress"];
  readonly #watch: Watchdog;
  readonly #sent: Enrollment[] = [];
  #enrolled = 0;
  #closed = false;
  #sourceError: { readonly error: unknown } | undefined;
  #wake: () => void = () => undefined;

  constructor(services: Services, keyHolder: KeyHolder, crypto: PackedCrypto, gallery: GalleryInfo, options: EnrollOptions) {
    this.#services = services;
    this.#keyHolder = keyHolder;
    this.#crypto = crypto;
    this.#gallery = gallery;
    this.#maxInFlight = options.maxInFlight ?? DEFAULT_MAX_IN_FLIGHT;
    this.#onProgress = options.onProgress;
    this.#watch = new Watchdog(options);
  }

  /**
   * Runs it to the end; once. Returns how many templates were enrolled. Where the source throws, what was sent before is awaited
   * first, so that exactly the templates reported by onProgress are enrolled.
   */
  async run(source: Source): Promise<number> {
    using watch = this.#watch;
    try {
      const acknowledged = this.#services.galleries.enrollTemplates(this.#requests(source), { signal: watch.signal });
      for await (const { entry } of acknowledged) this.#acknowledge(fromLiveWireEntry(entry));
    } catch (error) {
      throw translate(this.#services.address, watch, error);
    } finally {
      this.#closed = true;
      this.#wake();
    }
    if (this.#sourceError !== undefined) throw this.#sourceError.error;
    if (this.#sent.length > 0) throw invalidReply("an end of the enrollment before every template was acknowledged");
    return this.#enrolled;
  }

  async *#requests(source: Source): AsyncGenerator<EnrollTemplatesRequest, void, undefined> {
    yield { message: { $case: "target", value: { galleryId: this.#gallery.galleryId, space: toWireSpace(this.#gallery.space) } } };
    this.#watch.pause();
    try {
      for await (const item of source) {
        await this.#room();
        if (this.#closed) return;
        yield this.#send(item);
      }
    } catch (error) {
      this.#sourceError = { error };
    }
    this.#watch.restart();
  }

  #send(item: Enrollment): EnrollTemplatesRequest {
    const templateId = checkId("template", item.templateId);
    const subjectId = checkId("subject", item.subjectId);
    const ciphertext = toWireCiphertext(this.#keyHolder.contextId, this.#crypto.encryptTemplate(item.embedding));
    this.#sent.push(item);
    this.#watch.restart();
    return { message: { $case: "template", value: { templateId, subjectId, ciphertext } } };
  }

  async #room(): Promise<void> {
    while (this.#sent.length >= this.#maxInFlight && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #acknowledge(entry: RosterEntry): void {
    const item = this.#sent.shift();
    if (item?.templateId !== entry.templateId || item.subjectId !== entry.subjectId) {
      throw invalidReply("an acknowledgement of another template than the next one sent");
    }
    this.#enrolled++;
    // With nothing in flight the silence is the source's, which may take its time.
    if (this.#sent.length === 0) this.#watch.pause();
    else this.#watch.restart();
    this.#wake();
    this.#onProgress?.(this.#enrolled, entry);
  }
}
