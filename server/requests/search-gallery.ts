import type { SearchTarget } from "@veilface/proto";
import type { BlockAnswer } from "../compute/block-answer.ts";
import type { RosterEntry, StoredGallery } from "../store/gallery-store.ts";
import { revision as checkedRevision, uid } from "./from-wire.ts";
import type { AnyEncoding } from "./gallery-scheme.ts";
import { changesSince } from "./list-template-changes.ts";
import { Question } from "./probe-question.ts";
import type { Comparing, ProbeMessage } from "./probe-question.ts";
import { quiet } from "../streams.ts";
import { readAll } from "./read-all.ts";

/** A step of a search: the gallery, changes of its roster where they are asked for, the revision, then products. */
export type SearchStep =
  | { readonly kind: "gallery"; readonly gallery: StoredGallery }
  | { readonly kind: "changes"; readonly entries: readonly RosterEntry[] }
  | { readonly kind: "start"; readonly revision: number }
  | {
      readonly kind: "product";
      readonly gallery: StoredGallery;
      readonly encoding: AnyEncoding;
      readonly product: BlockAnswer;
    };

/** Compares probes with every block of a gallery. */
export async function* searchGallery(
  comparing: Comparing,
  requests: AsyncIterable<ProbeMessage<SearchTarget>>,
  signal: AbortSignal,
): AsyncGenerator<SearchStep> {
  const { store, probes } = comparing;
  using holding = probes.open();
  const question = await Question.open(comparing, requests, holding);
  const { gallery, location, target } = question;
  const { galleryId } = gallery;
  const known = knownRevision(target, gallery);
  yield { kind: "gallery", gallery };
  // Side by side: one client writes all of its probe before it reads, the other reads all changes before it writes.
  question.pausePatience();
  const receiving = quiet(question.receiveProbe());
  const told = yield* changesAfter(comparing, galleryId, known);
  question.resumePatience();
  const probe = await receiving;
  const { blocks, revision } = await store.listBlocks(galleryId);
  // What was enrolled while the probe was on its way is in the blocks.
  if (told !== undefined && told < revision) yield* changesAfter(comparing, galleryId, told);
  question.checkUnchanged();
  yield { kind: "start", revision };
  const { encoding, products } = await probe.search({ blocks, location, signal });
  for await (const product of products) yield { kind: "product", gallery, encoding, product };
  question.checkUnchanged();
}

/** The revision after which changes are asked for; undefined where they are not. Throws ServerError FIELD_INVALID. */
function knownRevision({ roster }: SearchTarget, gallery: StoredGallery): number | undefined {
  if (roster === undefined) return undefined;
  const known = readAll({
    uid: () => (roster.uid.length === 0 ? undefined : uid("target.roster.uid", roster.uid)),
    revision: () => checkedRevision("target.roster.revision", roster.revision),
  });
  return known.uid !== undefined && Buffer.from(known.uid).equals(gallery.uid) ? known.revision : 0;
}

/** Up to which revision the changes were told. */
async function* changesAfter(
  { store }: Comparing,
  galleryId: string,
  since: number | undefined,
): AsyncGenerator<SearchStep, number | undefined> {
  if (since === undefined) return undefined;
  let told = since;
  for await (const entries of changesSince(store, galleryId, since)) {
    yield { kind: "changes", entries };
    told = entries.at(-1)?.revision ?? told;
  }
  return told;
}
