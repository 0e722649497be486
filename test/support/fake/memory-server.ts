// A matching server in this process that keeps galleries in memory, packed blocks and drafts too, and lets a test
// interfere.
import { createHash, randomBytes } from "node:crypto";
import { RingKernel, layoutOf, parameterSet } from "@veilface/fhe";
import {
  ContextServiceDefinition,
  GalleryServiceDefinition,
  MatchingServiceDefinition,
  Metric,
  ParameterSet,
} from "@veilface/proto";
import type {
  Ciphertext,
  Context,
  CreateContextRequest,
  DeleteTemplatesResponse,
  EnrollTemplatesRequest,
  EnrollTemplatesResponse,
  Gallery,
  ListTemplateChangesResponse,
  LooseTemplate,
  PackedBlock,
  PackedScheme,
  ProbePiece,
  ReadTemplatesResponse,
  ReplaceGalleryRequest,
  SearchGalleryRequest,
  SearchGalleryResponse,
  SearchTarget,
  TemplateEntry,
} from "@veilface/proto";
import { packedContextId } from "@veilface/fhe";
import type { ParameterSetName } from "@veilface/fhe";
import { ServerError, Status, createServer } from "nice-grpc";
import { ErrorInfo } from "nice-grpc-error-details";
import { RichServerError, errorDetailsServerMiddleware } from "nice-grpc-error-details";
import { toTiles } from "../../../fhe/ring/tiles.ts";

/** The ciphertexts of a block: those of a packed one by piece, loose ones by slot, at their slots. */
interface MemoryBlock {
  readonly stride: number;
  readonly packed: readonly Uint32Array[] | undefined;
  readonly loose: Map<number, Uint32Array>;
}

interface MemoryGallery {
  info: Gallery;
  readonly roster: Map<string, TemplateEntry>;
  readonly blocks: Map<number, MemoryBlock>;
  nextBlock: number;
}

/** What a test may do on the way. Throwing ends the call with that error. */
interface Interference {
  enroll?: (reply: EnrollTemplatesResponse) => void;
  read?: (reply: ReadTemplatesResponse) => ReadTemplatesResponse | undefined;
  search?: (reply: SearchGalleryResponse) => void;
  replace?: () => void;
  list?: () => void;
  /** Once it is done, before it is answered. */
  delete?: () => void;
}

/** gRPC's UNAVAILABLE, as from a server that goes away. */
export function goingAway(): ServerError {
  return new ServerError(Status.UNAVAILABLE, "going away");
}

export class MemoryServer implements AsyncDisposable {
  readonly galleries = new Map<string, MemoryGallery>();
  interference: Interference = {};
  readonly #contexts = new Map<string, Context>();
  readonly #server = createServer().use(errorDetailsServerMiddleware);
  #address = "";
  #lastTime = 0;

  static async start(port = 0): Promise<MemoryServer> {
    const server = new MemoryServer();
    server.#address = `127.0.0.1:${await server.#server.listen(`127.0.0.1:${port}`)}`;
    return server;
  }

  private constructor() {
    this.#server.add(ContextServiceDefinition, {
      createContext: (requests) => this.#createContext(requests),
      getContext: unsupported,
      listContexts: unsupported,
      deleteContext: unsupported,
    });
    this.#server.add(GalleryServiceDefinition, {
      createGallery: ({ gallery }) => Promise.resolve({ gallery: this.#create(gallery!) }),
      getGallery: ({ galleryId }) => Promise.resolve({ gallery: describe(this.#gallery(galleryId)) }),
      listGalleries: ({ contextId }) =>
        Promise.resolve({
          galleries: [...this.galleries.values()].map(describe).filter((info) => info.contextId === contextId),
          nextPageToken: "",
        }),
      updateGallery: unsupported,
      deleteGallery: ({ galleryId }) =>
        Promise.resolve(this.#gallery(galleryId))
          .then(() => void this.galleries.delete(galleryId))
          .then(() => ({})),
      listTemplates: unsupported,
      listSubjects: unsupported,
      listTemplateChanges: ({ galleryId, sinceRevision }) => Promise.resolve(this.#list(galleryId, sinceRevision)),
      deleteTemplates: ({ galleryId, templateIds }) => Promise.resolve(this.#delete(galleryId, templateIds)),
      enrollTemplates: (requests) => this.#enroll(requests),
      readTemplates: ({ galleryId }) => this.#read(galleryId),
      replaceGallery: (request) => Promise.resolve(this.#replace(request)),
    });
    this.#server.add(MatchingServiceDefinition, {
      compareTemplates: unsupported,
      searchGallery: (requests) => this.#search(requests),
      compareCiphertexts: unsupported,
    });
  }

  get address(): string {
    return this.#address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    await Promise.resolve();
  }

  /** Ids by block, of the live templates. */
  blocks(galleryId: string): { stride: number; packed: boolean; templateIds: string[] }[] {
    const { blocks, roster } = this.#gallery(galleryId);
    return [...blocks].map(([number, { stride, packed }]) => {
      const templateIds = [...roster.values()]
        .filter(({ placement }) => placement?.block === number)
        .map(({ templateId }) => templateId);
      return { stride, packed: packed !== undefined, templateIds };
    });
  }

  async #createContext(requests: AsyncIterable<CreateContextRequest>): Promise<{ context: Context }> {
    for await (const { message } of requests) {
      const context = message?.$case === "newContext" ? message.value.context : undefined;
      const { keyId } = packedSchemeOf(context!);
      const created = {
        ...context!,
        contextId: packedContextId(parameterSetOf(context!), keyId),
        createTime: new Date(1),
      };
      this.#contexts.set(created.contextId, created);
      return { context: created };
    }
    throw new Error("no context came");
  }

  #create(wanted: Gallery): Gallery {
    if (this.galleries.has(wanted.galleryId)) throw refusal("GALLERY_EXISTS");
    this.#lastTime = Math.max(Date.now(), this.#lastTime + 1);
    const info = {
      ...wanted,
      packedStride: wanted.packedStride === 0 ? 4 : wanted.packedStride,
      uid: wanted.uid.length === 0 ? randomBytes(16) : wanted.uid,
      createTime: new Date(this.#lastTime),
    };
    const gallery = {
      info,
      roster: new Map<string, TemplateEntry>(),
      blocks: new Map<number, MemoryBlock>(),
      nextBlock: 0,
    };
    this.galleries.set(info.galleryId, gallery);
    return describe(gallery);
  }

  #gallery(galleryId: string): MemoryGallery {
    const gallery = this.galleries.get(galleryId);
    if (gallery === undefined) throw refusal("GALLERY_NOT_FOUND");
    return gallery;
  }

  #kernel({ info }: MemoryGallery, pieces: number): RingKernel {
    const name = parameterSetOf(this.#contexts.get(info.contextId)!);
    return RingKernel.create(parameterSet(name).dataPrimes, { probes: 1, pieces });
  }

  async *#enroll(requests: AsyncIterable<EnrollTemplatesRequest>): AsyncGenerator<EnrollTemplatesResponse> {
    let gallery: MemoryGallery | undefined;
    let head: PackedBlock | undefined;
    let pieces: Ciphertext[] = [];
    for await (const { message } of requests) {
      let reply: EnrollTemplatesResponse | undefined;
      if (message?.$case === "target") gallery = this.#gallery(message.value.galleryId);
      if (message?.$case === "template")
        reply = {
          message: {
            $case: "template",
            value: { entry: this.#putLoose(gallery!, message.value), struckTemplateIds: [] },
          },
        };
      if (message?.$case === "block") [head, pieces] = [message.value, []];
      if (message?.$case === "pieces") {
        pieces.push(...message.value.pieces);
        if (pieces.length === layoutOf(encodedDimension(gallery!.info), head!.stride).pieces)
          reply = this.#putBlock(gallery!, head!, pieces);
      }
      if (reply === undefined) continue;
      this.interference.enroll?.(reply);
      yield reply;
    }
  }

  #putLoose(gallery: MemoryGallery, { templateId, subjectId, ciphertext }: LooseTemplate): TemplateEntry {
    const stride = encodedDimension(gallery.info);
    const last = [...gallery.blocks].findLast(
      ([, block]) => block.packed === undefined && block.loose.size < layoutOf(stride, stride).slots,
    );
    const [number, block] = last ?? [
      gallery.nextBlock++,
      { stride, packed: undefined, loose: new Map<number, Uint32Array>() },
    ];
    gallery.blocks.set(number, block);
    const slot = block.loose.size;
    const kernel = this.#kernel(gallery, 1);
    block.loose.set(slot, kernel.multiplyByMonomial(kernel.unpack(ciphertext!.data), slot * stride));
    return record(gallery, {
      templateId,
      subjectId,
      placement: { block: number, slot, stride },
      revision: ++gallery.info.revision,
      deleted: false,
    });
  }

  #putBlock(
    gallery: MemoryGallery,
    { stride, slots }: PackedBlock,
    pieces: readonly Ciphertext[],
  ): EnrollTemplatesResponse {
    const kernel = this.#kernel(gallery, 1);
    const block = gallery.nextBlock++;
    const firstRevision = gallery.info.revision + 1;
    gallery.blocks.set(block, { stride, packed: pieces.map(({ data }) => kernel.unpack(data)), loose: new Map() });
    slots.forEach(({ templateId, subjectId }, slot) =>
      record(gallery, {
        templateId,
        subjectId,
        placement: { block, slot, stride },
        revision: ++gallery.info.revision,
        deleted: false,
      }),
    );
    const value = { block, stride, count: slots.length, firstRevision, struckTemplateIds: [] };
    return { message: { $case: "block", value } };
  }

  #list(galleryId: string, since: number): ListTemplateChangesResponse {
    this.interference.list?.();
    const gallery = this.#gallery(galleryId);
    return { entries: changesSince(gallery, since), nextPageToken: "", revision: gallery.info.revision };
  }

  #delete(galleryId: string, ids: readonly string[]): Partial<DeleteTemplatesResponse> {
    const gallery = this.#gallery(galleryId);
    const isThere = (templateId: string): boolean => gallery.roster.get(templateId)?.deleted === false;
    const unknownTemplateIds = ids.filter((templateId) => !isThere(templateId));
    const before = gallery.info.revision;
    for (const templateId of ids) if (isThere(templateId)) strike(gallery, templateId);
    this.interference.delete?.();
    const { revision } = gallery.info;
    return { deletedCount: revision - before, revision, unknownTemplateIds };
  }

  *#stored(gallery: MemoryGallery): Generator<ReadTemplatesResponse> {
    yield { message: { $case: "gallery", value: describe(gallery) } };
    const kernel = this.#kernel(gallery, 1);
    const wire = (residues: Uint32Array): Ciphertext => ciphertext(gallery.info.contextId, kernel.pack(residues));
    for (const [block, { stride, packed, loose }] of gallery.blocks) {
      const live = [...gallery.roster.values()].filter(({ placement }) => placement?.block === block);
      const parts =
        packed === undefined
          ? live.map((entry) => ({ entries: [entry], pieces: [loose.get(entry.placement!.slot)!] }))
          : [{ entries: live, pieces: packed }];
      for (const { entries, pieces } of parts) {
        yield { message: { $case: "block", value: { block, stride, entries, pieces: pieces.length } } };
        for (const piece of pieces) yield { message: { $case: "pieces", value: { pieces: [wire(piece)] } } };
      }
    }
  }

  async *#read(galleryId: string): AsyncGenerator<ReadTemplatesResponse> {
    for (const reply of this.#stored(this.#gallery(galleryId))) {
      await Promise.resolve();
      const sent = this.interference.read === undefined ? reply : this.interference.read(reply);
      if (sent !== undefined) yield sent;
    }
  }

  #replace({ galleryId, draftId, draftUid, expectedRevision }: ReplaceGalleryRequest): { gallery: Gallery } {
    const gallery = this.#gallery(galleryId);
    if (Buffer.from(draftUid).equals(gallery.info.uid)) return { gallery: describe(gallery) };
    const draft = this.#gallery(draftId);
    if (gallery.info.revision !== expectedRevision || draft.info.draftOf !== galleryId)
      throw refusal("GALLERY_CHANGED");
    this.galleries.delete(draftId);
    this.galleries.set(galleryId, draft);
    draft.info = { ...draft.info, galleryId, draftOf: "" };
    this.interference.replace?.();
    return { gallery: describe(draft) };
  }

  async *#search(requests: AsyncIterable<SearchGalleryRequest>): AsyncGenerator<SearchGalleryResponse> {
    for await (const reply of this.#answers(requests)) {
      this.interference.search?.(reply);
      yield reply;
    }
  }

  async *#answers(requests: AsyncIterable<SearchGalleryRequest>): AsyncGenerator<SearchGalleryResponse> {
    const pieces: ProbePiece[] = [];
    let gallery: MemoryGallery | undefined;
    let target: SearchTarget | undefined;
    for await (const { message } of requests) {
      if (message?.$case === "pieces") pieces.push(...message.value.pieces);
      if (message?.$case !== "target") continue;
      target = message.value;
      gallery = this.#gallery(target.galleryId);
      yield { message: { $case: "gallery", value: describe(gallery) } };
    }
    if (target?.roster !== undefined) {
      const isKnown = Buffer.from(gallery!.info.uid).equals(target.roster.uid);
      const entries = changesSince(gallery!, isKnown ? target.roster.revision : 0);
      yield { message: { $case: "rosterChanges", value: { entries } } };
    }
    yield { message: { $case: "start", value: { revision: gallery!.info.revision } } };
    for (let probe = 0; probe < Math.max(1, target!.probes); probe++)
      yield* this.#distances(
        gallery!,
        pieces.filter((piece) => piece.probe === probe),
      );
  }

  *#distances(gallery: MemoryGallery, pieces: readonly ProbePiece[]): Generator<SearchGalleryResponse> {
    const live = new Set([...gallery.roster.values()].map(({ placement }) => placement?.block));
    for (const [block, { stride, packed, loose }] of gallery.blocks) {
      if (!live.has(block)) continue;
      const ofStride = pieces.filter((piece) => piece.stride === stride).sort((a, b) => a.piece - b.piece);
      if (ofStride.length !== layoutOf(encodedDimension(gallery.info), stride).pieces)
        throw refusal("PROBE_INCOMPLETE");
      const kernel = this.#kernel(gallery, ofStride.length);
      kernel.loadProbes([toTiles(ofStride.map((piece) => kernel.unpack(piece.ciphertext!.data)))]);
      const polynomials = packed ?? [kernel.sum(loose.values())];
      const [product] = kernel.matchBlock([toTiles([...polynomials])]);
      const answer = ciphertext(gallery.info.contextId, kernel.pack(product!));
      const { probe } = ofStride[0]!;
      const nothingRefused = { identical: false, refused: 0 as const, damagedSlots: [] };
      yield {
        message: { $case: "distances", value: { block, stride, ciphertext: answer, probe, ...nothingRefused } },
      };
    }
  }
}

/** Its latest changes after a revision, oldest first. */
function changesSince({ roster }: MemoryGallery, since: number): TemplateEntry[] {
  const entries = [...roster.values()].filter(({ revision }) => revision > since);
  return entries.sort((a, b) => a.revision - b.revision);
}

/** Deletes a template. */
export function strike(gallery: MemoryGallery, templateId: string): void {
  const gone = { templateId, subjectId: "", placement: undefined, deleted: true };
  record(gallery, { ...gone, revision: ++gallery.info.revision });
}

function packedSchemeOf({ scheme }: Context): PackedScheme {
  return scheme?.$case === "packed" ? scheme.value : unsupported();
}

function parameterSetOf(context: Context): ParameterSetName {
  return packedSchemeOf(context).parameterSet === ParameterSet.PARAMETER_SET_PACKED_N4096_Q60
    ? "PACKED_N4096_Q60"
    : "PACKED_N4096_Q30";
}

function encodedDimension({ space }: Gallery): number {
  return space!.dimension + Number(space!.metric === Metric.METRIC_EUCLIDEAN);
}

function describe({ info, roster, blocks }: MemoryGallery): Gallery {
  const live = [...roster.values()].filter(({ deleted }) => !deleted);
  const strides = [...new Set([...blocks.values()].map(({ stride }) => stride))].sort((a, b) => a - b);
  return { ...info, templateCount: live.length, strides };
}

function record({ roster }: MemoryGallery, entry: TemplateEntry): TemplateEntry {
  roster.set(entry.templateId, entry);
  return entry;
}

function ciphertext(contextId: string, packed: Uint8Array): Ciphertext {
  const data = Buffer.from(packed);
  return { contextId, encoding: 2, data, sha256: createHash("sha256").update(data).digest() };
}

function refusal(reason: string): RichServerError {
  return new RichServerError(Status.FAILED_PRECONDITION, reason, [
    ErrorInfo.fromPartial({ reason, domain: "veilface.dev" }),
  ]);
}

function unsupported(): never {
  throw new Error("the memory server does not do this");
}
