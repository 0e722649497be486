import type { EnrollTemplatesRequest, EnrollTemplatesResponse } from "@veilface/proto";
import { callersCallback } from "../boundary.ts";
import { isUnavailable, pauseBeforeRetry } from "../remote/retrying.ts";
import type { Bounded, CallOptions } from "../remote/call-bounds.ts";
import type { RpcWatch, Rpcs } from "../remote/calls.ts";
import type { EnrollmentUnit } from "./unit-maker.ts";
import { Outbox } from "./outbox.ts";
import { checkWhole } from "../ranges.ts";
import { fromLiveWireEntry, invalidReply, toWireSpace } from "../remote/wire.ts";
import type { GalleryInfo, RosterEntry } from "../remote/wire.ts";

/** How templates are enrolled, and who hears of it. */
export interface EnrollOptions extends CallOptions {
  /** Called for each template once it is durable, with how many are so far. */
  readonly onProgress?: (enrolled: number, entry: RosterEntry) => void;
  /**
   * Called with ids of templates that were replaced and whose bits stay in a packed block, until that block goes with
   * its last template or the gallery is packed anew.
   */
  readonly onStruck?: (templateIds: readonly string[]) => void;
  /**
   * How many templates enrolled alone may be sent and not yet acknowledged, >= 1; 64 by default, about 4 MB. Of packed
   * blocks at most three are.
   */
  readonly maxInFlight?: number;
  /**
   * "auto" (the default) packs templates into blocks of the gallery's packed stride, which are enrolled and searched
   * far faster; they become durable block by block, and a deleted one's bits stay until its block is packed anew. Few
   * of them are enrolled alone where searches are quicker so. "never" enrolls each alone, as it comes.
   */
  readonly packing?: "auto" | "never";
}

const DEFAULT_MAX_IN_FLIGHT = 64;
const MOST_IN_FLIGHT = 1_000_000;
// A block of 128 components has 8 MB at stride 1: enough to keep the server busy while the next is encrypted.
const BLOCKS_IN_FLIGHT = 3;

/**
 * One enrollment: encrypts and sends as its source yields, bounded by what the server has acknowledged. Where the
 * stream breaks because the server went away, a new one sends what was not acknowledged again: enrolling is idempotent,
 * so nothing is lost or doubled.
 */
export class EnrollmentStream {
  readonly #rpcs: Rpcs;
  readonly #gallery: Pick<GalleryInfo, "galleryId" | "space">;
  readonly #options: Bounded<EnrollOptions>;
  readonly #outbox: Outbox<EnrollmentUnit>;
  #enrolled = 0;
  #sourceError: { readonly error: unknown } | undefined;

  /** Throws ClientError USAGE for options out of range. */
  constructor(rpcs: Rpcs, gallery: Pick<GalleryInfo, "galleryId" | "space">, options: Bounded<EnrollOptions>) {
    this.#rpcs = rpcs;
    this.#gallery = gallery;
    const { maxInFlight = DEFAULT_MAX_IN_FLIGHT } = options;
    checkWhole("maxInFlight", maxInFlight, { least: 1, most: MOST_IN_FLIGHT });
    this.#options = {
      ...options,
      onProgress: callersCallback(options.onProgress),
      onStruck: callersCallback(options.onStruck),
    };
    this.#outbox = new Outbox(1 + 1e-9, ({ kind }) => 1 / (kind === "block" ? BLOCKS_IN_FLIGHT : maxInFlight));
  }

  /**
   * Runs it to the end; once. Returns how many templates were enrolled. Where the source throws, what it yielded before
   * is enrolled first, so that exactly the templates reported by onProgress are.
   */
  async run(units: AsyncIterable<EnrollmentUnit>): Promise<number> {
    void this.#fill(units);
    try {
      await this.#sendAll();
    } finally {
      this.#outbox.close();
    }
    if (this.#sourceError !== undefined) throw this.#sourceError.error;
    return this.#enrolled;
  }

  async #fill(units: AsyncIterable<EnrollmentUnit>): Promise<void> {
    try {
      for await (const unit of units) if (!(await this.#outbox.put(unit))) return;
    } catch (error) {
      this.#sourceError = { error };
    }
    this.#outbox.end();
  }

  async #sendAll(): Promise<void> {
    for (let failures = 0; ; ) {
      const before = this.#outbox.acknowledged;
      try {
        await this.#attempt();
        return;
      } catch (error) {
        failures = this.#outbox.acknowledged > before ? 1 : failures + 1;
        if (!isUnavailable(error)) throw error;
        if (this.#outbox.done) return;
        await pauseBeforeRetry(failures, error, this.#options.bounds);
      }
    }
  }

  /** One stream: all that is not acknowledged, and what comes. */
  async #attempt(): Promise<void> {
    using watch = this.#rpcs.watchStream(this.#options);
    const attempt = { over: false, sent: this.#outbox.acknowledged };
    try {
      const replies = this.#rpcs.services.galleries.enrollTemplates(this.#requests(attempt, watch), watch.rpc);
      for await (const reply of replies) {
        this.#acknowledge(reply);
        // With nothing in flight the silence is the source's, which may take its time.
        if (attempt.sent === this.#outbox.acknowledged) watch.pause();
        else watch.restart();
      }
    } catch (error) {
      throw watch.translate(error);
    } finally {
      attempt.over = true;
      this.#outbox.wake();
    }
    if (!this.#outbox.done) throw invalidReply("an end of the enrollment before every template was acknowledged");
  }

  async *#requests(
    attempt: { over: boolean; sent: number },
    watch: RpcWatch,
  ): AsyncGenerator<EnrollTemplatesRequest, void, undefined> {
    const { galleryId, space } = this.#gallery;
    yield { message: { $case: "target", value: { galleryId, space: toWireSpace(space) } } };
    if (attempt.sent === this.#outbox.acknowledged) watch.pause();
    for (;;) {
      const unit = await this.#outbox.at(attempt.sent, () => attempt.over);
      if (unit === undefined) break;
      attempt.sent++;
      for (const message of unit.messages) {
        watch.restart();
        yield message;
      }
    }
    if (!attempt.over) watch.restart();
  }

  #acknowledge({ message }: EnrollTemplatesResponse): void {
    const unit = this.#outbox.oldest();
    const entries = unit?.kind === "block" ? entriesOfBlock(unit, message) : [entryOf(message)];
    const { struckTemplateIds = [] } = message?.value ?? {};
    const [first] = entries;
    const [expected] = unit?.templates ?? [];
    if (expected === undefined || first?.templateId !== expected.templateId || first.subjectId !== expected.subjectId) {
      throw invalidReply("an acknowledgement of another template than the next one sent");
    }
    this.#outbox.acknowledge();
    if (struckTemplateIds.length > 0) this.#options.onStruck?.(struckTemplateIds);
    for (const acknowledged of entries) {
      this.#enrolled++;
      this.#options.onProgress?.(this.#enrolled, acknowledged);
    }
  }
}

type Acknowledgement = EnrollTemplatesResponse["message"];

function entryOf(message: Acknowledgement): RosterEntry {
  return fromLiveWireEntry(message?.$case === "template" ? message.value.entry : undefined);
}

function entriesOfBlock({ stride, templates }: EnrollmentUnit, message: Acknowledgement): RosterEntry[] {
  const wire = message?.$case === "block" ? message.value : undefined;
  if (wire?.stride !== stride || wire.count !== templates.length || wire.block < 0 || wire.firstRevision < 1) {
    throw invalidReply("an acknowledgement of another block than the next one sent");
  }
  const { block, firstRevision } = wire;
  return templates.map((template, slot) => ({
    ...template,
    placement: { block, slot, stride },
    revision: firstRevision + slot,
  }));
}
