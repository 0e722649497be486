// A real server held to the published vectors, over a socket, by a client that knows only the descriptor set.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import type { PackedVector } from "../../scripts/vectors/packed-vector.ts";
import { startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { newPackedContext, question, readComparison, readSearch } from "../support/independent/gallery-fixture.ts";
import type {
  CiphertextMessage,
  CompareAnswer,
  CompareMessage,
  EnrolledMessage,
  EntryMessage,
  SearchAnswer,
  SearchMessage,
} from "../support/independent/gallery-fixture.ts";
import { unpack, words } from "../support/independent/independent-crypto.ts";
import { watchBytes } from "../support/leak-watch.ts";
import { PACKED_VECTORS, bytesOf, readPackedVector } from "../vectors/read-vectors.ts";

const { server, client } = await startContractServer();
const SUBJECT = "ada";
const SEAL_WORDS_AT = 113;

/** A gallery for one vector, and its messages. */
class VectorGallery {
  readonly vector: PackedVector;
  readonly galleryId: string;

  constructor(vector: PackedVector, galleryId: string) {
    this.vector = vector;
    this.galleryId = galleryId;
    for (const { packedResidues } of [vector.template, vector.probe, vector.product])
      watchBytes(Buffer.from(packedResidues, "base64"));
    watchBytes(Buffer.from(vector.template.seal, "base64"));
    watchBytes(Buffer.from(vector.keyId, "hex"));
  }

  get space(): object {
    const { dimension, metric, normBound } = this.vector.space;
    return { dimension, metric: `METRIC_${metric.toUpperCase()}`, model_id: "model-a", norm_bound: normBound };
  }

  ciphertext(data: Buffer, encoding = "CIPHERTEXT_ENCODING_PACKED_RESIDUES"): CiphertextMessage {
    return { context_id: this.vector.contextId, encoding, data, sha256: createHash("sha256").update(data).digest() };
  }

  get probe(): object[] {
    return [{ stride: this.vector.stride, piece: 0, ciphertext: this.ciphertext(bytesOf(this.vector.probe)) }];
  }

  async create(): Promise<string> {
    const { parameterSet: set, keyId } = this.vector;
    const [answer] = await client.call<{ context: { context_id: string } }>(
      "ContextService/CreateContext",
      newPackedContext({ set, keyId: Buffer.from(keyId, "hex") }),
    );
    await client.call("GalleryService/CreateGallery", {
      gallery: { gallery_id: this.galleryId, context_id: this.vector.contextId, space: this.space },
    });
    return answer!.context.context_id;
  }

  async enroll(ciphertext: CiphertextMessage): Promise<EntryMessage> {
    const [answer] = await client.call<EnrolledMessage>(
      "GalleryService/EnrollTemplates",
      { target: { gallery_id: this.galleryId, space: this.space } },
      { template: { template_id: "ada-1", subject_id: SUBJECT, ciphertext } },
    );
    return answer!.template!.entry;
  }

  async compare(reply_encoding?: string): Promise<CompareAnswer["comparisons"][number]> {
    const target = {
      gallery_id: this.galleryId,
      subject_id: SUBJECT,
      space: this.space,
      ...(reply_encoding === undefined ? {} : { reply_encoding }),
    };
    const { strides, comparisons } = readComparison(
      await client.call<CompareMessage>("MatchingService/CompareTemplates", ...question(target, this.probe)),
    );
    assert.deepEqual([strides, comparisons.length], [[this.vector.stride], 1]);
    return comparisons[0]!;
  }

  async search(): Promise<SearchAnswer> {
    const target = { gallery_id: this.galleryId, space: this.space };
    return readSearch(
      await client.call<SearchMessage>("MatchingService/SearchGallery", ...question(target, this.probe)),
    );
  }
}

for (const name of PACKED_VECTORS) {
  const vector = readPackedVector(name);
  const id = name.replace(".json", "");

  test(`${name}: the server answers the vector's template and probe with the vector's product, bit for bit`, async () => {
    const gallery = new VectorGallery(vector, id);
    assert.equal(await gallery.create(), vector.contextId);
    const { placement } = await gallery.enroll(gallery.ciphertext(bytesOf(vector.template)));
    assert.deepEqual({ slot: placement!.slot, stride: placement!.stride }, { slot: 0, stride: vector.stride });
    const { distances, entries } = await gallery.compare();
    assert.deepEqual(
      entries.map(({ template_id }) => template_id),
      ["ada-1"],
    );
    assert.ok(distances.ciphertext.data.equals(bytesOf(vector.product)));
    assert.equal(distances.ciphertext.sha256.toString("hex"), vector.product.sha256);
    assert.equal(distances.ciphertext.context_id, vector.contextId);
    const { revision, distances: found } = await gallery.search();
    assert.deepEqual([revision, found.length], [1, 1]);
    assert.ok(found[0]!.ciphertext.data.equals(bytesOf(vector.product)));
  });

  test(`${name}: so it does when the template comes as SEAL's bytes, and the product is asked for as SEAL's bytes`, async () => {
    const gallery = new VectorGallery(vector, `${id}-seal`);
    await gallery.create();
    await gallery.enroll(gallery.ciphertext(Buffer.from(vector.template.seal, "base64"), "CIPHERTEXT_ENCODING_SEAL"));
    const { distances } = await gallery.compare("CIPHERTEXT_ENCODING_SEAL");
    assert.deepEqual(words(distances.ciphertext.data, SEAL_WORDS_AT), unpack(bytesOf(vector.product)));
  });
}

testThatTheLogTellsNothing(server);
