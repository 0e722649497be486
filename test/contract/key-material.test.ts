// Nothing that the server holds works as a secret key: every row of its store is tried.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { contractKey, startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import {
  COSINE_128,
  TestGallery,
  freshId,
  newPackedContext,
  question,
  readSearch,
} from "../support/independent/gallery-fixture.ts";
import type { CiphertextMessage, Person, SearchMessage } from "../support/independent/gallery-fixture.ts";
import { CIPHERTEXT_WORDS_AT, unpack, words } from "../support/independent/independent-crypto.ts";
import {
  plainDistance,
  randomEmbedding,
  scalesOf,
  templatePolynomial,
} from "../support/independent/independent-encoding.ts";
import { DEGREE, IndependentRing } from "../../scripts/vectors/independent-ring.ts";
import { TestContext, sealUpload } from "../support/independent/pairwise-context.ts";
import { PairwiseGallery } from "../support/independent/pairwise-gallery.ts";
import { KeyHunt, polynomialRuns, storedTables } from "../support/hostile/pairwise-key-hunt.ts";
import { SMALL, TensealMaker, smallTolerance, stepsUpTo } from "../support/independent/tenseal-maker.ts";

const STRIDE = 16;
/** The prime that SEAL reserves, after the data primes: see ParameterSet. */
const RESERVED_PRIME = 1032193n;

const { server, client } = await startContractServer();
const packed = await packedSide();
const pairwise = await pairwiseSide();
await server.kill("SIGTERM");
const tables = await storedTables(server.dataFolder);
const everything = [...tables.values()].flat();

/** One scheme: what is stored of it, and the hunt for its key. */
interface Side {
  readonly hunt: KeyHunt;
  /** Uncompressed SEAL bytes of what the server was given or gives back. */
  readonly stored: readonly Buffer[];
  /** SEAL's secret key. */
  readonly secretKey: Buffer;
  /** One for each data prime. */
  readonly rings: readonly IndependentRing[];
}

/** A gallery of the packed scheme with templates of both kinds, and a search in it. */
async function packedSide(): Promise<Side> {
  const key = await contractKey();
  const galleryId = freshId("packed");
  await client.call("ContextService/CreateContext", newPackedContext(key));
  await client.call("GalleryService/CreateGallery", {
    gallery: { gallery_id: galleryId, context_id: key.contextId, space: COSINE_128, packed_stride: STRIDE },
  });
  const gallery = new TestGallery(client, key, COSINE_128, galleryId);
  const people = crowd(3, 128);
  await gallery.enroll(people);
  const probe = randomEmbedding(128);
  const found = await gallery.search(probe);
  for (const { template_id, embedding } of people)
    assert.ok(Math.abs(found.get(template_id)! - plainDistance(COSINE_128, embedding, probe)) < 1e-5);
  const wish = { ...gallery.target, reply_encoding: "CIPHERTEXT_ENCODING_SEAL" };
  const { distances } = await gallery.ask(wish, gallery.pieces(probe));
  await enrollBlock(gallery, crowd(40, 128, "block"));
  const stored = (await storedCiphertexts(galleryId)).map((data) => key.sealBytes(unpack(data)));
  assert.equal(stored.length, 3 + 128 / STRIDE);
  const secretKey = key.secretKeyBytes("none");
  const primes = [...key.rings.map(({ prime }) => prime), RESERVED_PRIME];
  const hunt = await held(
    KeyHunt.create(primes, secretKey, [stored[0]!, stored.at(-1)!, distances[0]!.ciphertext.data]),
  );
  return { hunt, stored, secretKey, rings: key.rings };
}

/** A pairwise context with a gallery, and a search in it. */
async function pairwiseSide(): Promise<Side> {
  const maker = await held(TensealMaker.create(SMALL));
  const keys = maker.makeKeys(stepsUpTo(8));
  const context = await TestContext.create(client, maker, sealUpload(maker, keys));
  const gallery = await PairwiseGallery.create(context, { ...COSINE_128, dimension: 16 });
  const people = crowd(2, 16);
  await gallery.enroll(people);
  const probe = randomEmbedding(16);
  const found = await gallery.search(probe);
  for (const { template_id, embedding } of people)
    assert.ok(Math.abs(found.get(template_id)! - gallery.plain(embedding, probe)) < smallTolerance(16));
  const { distances } = readSearch(
    await client.call<SearchMessage>(
      "MatchingService/SearchGallery",
      ...question(gallery.target, gallery.pieces(probe)),
    ),
  );
  const templates = await storedCiphertexts(gallery.galleryId);
  const secretKey = maker.secretKey("none");
  const hunt = await held(KeyHunt.create(maker.primes, secretKey, [templates[0]!, distances[0]!.ciphertext.data]));
  const slots = hunt.truths[0]!;
  people[0]!.embedding.forEach((x, k) => {
    assert.ok(Math.abs(slots[k]! - x) < 1e-4, "the hunt decrypts the stored template with the real key");
  });
  const [relin, galois] = [keys.relinKeys({ compression: "none" }), keys.galoisKeys({ compression: "none" })];
  return {
    hunt,
    stored: [...templates, relin, galois],
    secretKey,
    rings: maker.primes.slice(0, -1).map((prime) => new IndependentRing(prime)),
  };
}

function crowd(count: number, dimension: number, prefix = "t"): Person[] {
  return Array.from({ length: count }, (_, i) => ({
    template_id: `${prefix}-${i}`,
    subject_id: `${prefix}-${i}`,
    embedding: randomEmbedding(dimension),
  }));
}

async function enrollBlock(gallery: TestGallery, people: readonly Person[]): Promise<void> {
  const scales = scalesOf(gallery.key.modulus, 128, STRIDE);
  const vectors = people.map(({ embedding }) => templatePolynomial(COSINE_128, embedding, scales.template));
  const pieces = Array.from({ length: 128 / STRIDE }, (_, g) => {
    const polynomial = Array.from(
      { length: DEGREE },
      (_unused, at) => vectors[Math.floor(at / STRIDE)]?.[g * STRIDE + (at % STRIDE)] ?? 0,
    );
    return gallery.ciphertext(gallery.key.encrypt(polynomial));
  });
  const slots = people.map(({ template_id, subject_id }) => ({ template_id, subject_id }));
  await client.call(
    "GalleryService/EnrollTemplates",
    { target: gallery.target },
    { block: { stride: STRIDE, slots } },
    { pieces: { pieces } },
  );
}

async function storedCiphertexts(gallery_id: string): Promise<Buffer[]> {
  const messages = await client.call<{ pieces?: { pieces: CiphertextMessage[] } }>("GalleryService/ReadTemplates", {
    gallery_id,
  });
  return messages.flatMap(({ pieces }) => (pieces?.pieces ?? []).map(({ data }) => data));
}

async function held<T extends Disposable>(making: Promise<T>): Promise<T> {
  const made = await making;
  after(() => {
    made[Symbol.dispose]();
  });
  return made;
}

const fingerprint = (polynomial: BigUint64Array): string => Buffer.from(polynomial.slice().buffer).toString("base64");

for (const [name, side] of Object.entries({ packed, pairwise })) {
  test(`${name}: every stored polynomial is among those that are tried`, () => {
    const tried = new Set([...tables.values()].flatMap((values) => polynomialRuns(values).flat().map(fingerprint)));
    const expected = side.stored.flatMap((bytes) => polynomialRuns([bytes]).flat());
    assert.ok(expected.length >= side.stored.length * 2 * side.rings.length);
    for (const polynomial of expected) assert.ok(tried.has(fingerprint(polynomial)));
  });

  test(`${name}: no row of the store, and no polynomial in one, decrypts a stored template or an answer`, () => {
    for (const [table, values] of tables) {
      const { tried, worked } = side.hunt.keysAmong(values);
      assert.ok(tried >= values.length);
      assert.equal(worked, 0, `${worked} of ${tried} candidates in table ${table} work as the secret key`);
    }
    assert.ok(everything.length > 20);
  });

  test(`${name}: the real key would be found among the rows, in whatever form it lay there`, () => {
    const residues = words(side.secretKey, 88).slice(0, side.rings.length * DEGREE);
    const others = [Buffer.alloc(5000, 1), Buffer.from("{}")];
    const forms: Record<string, readonly Buffer[]> = {
      "SEAL's bytes": [side.secretKey],
      "SEAL's bytes cut in two": [side.secretKey.subarray(0, 40_000), side.secretKey.subarray(40_000)],
      "SEAL's bytes inside something": [Buffer.concat([Buffer.alloc(777, 2), side.secretKey, Buffer.alloc(99)])],
      "a polynomial of a ciphertext": [asCiphertext(residues)],
    };
    for (const [form, values] of Object.entries(forms))
      assert.ok(side.hunt.keysAmong([...others, ...values]).worked > 0, form);
  });
}

test("packed: the real key would be found in rows of 32-bit words too: as residues, as coefficients, behind a digest and in the tiles of a block", () => {
  const residues = words(packed.secretKey, 88).slice(0, 2 * DEGREE);
  const halves = [residues.slice(0, DEGREE), residues.slice(DEGREE)];
  const coefficients = halves.flatMap((half, k) => packed.rings[k]!.inverse(half));
  const random = Array.from({ length: DEGREE }, (_, i) => BigInt((i * 7919) % 1_000_003));
  const forms: Record<string, readonly Buffer[]> = {
    residues: [words32(residues)],
    coefficients: [words32(coefficients)],
    "residues behind a digest": [Buffer.concat([Buffer.alloc(32, 9), words32([...random, ...residues])])],
    "tiles of a block": halves.map((half) => words32(inTiles([half, random]))),
  };
  for (const [form, values] of Object.entries(forms))
    assert.ok(packed.hunt.keysAmong([Buffer.alloc(5000, 1), ...values]).worked > 0, form);
  assert.equal(packed.hunt.keysAmong([words32([...random, ...random])]).worked, 0);
});

/**
 * The two components of one piece modulo one prime, as a packed block holds them: tiles of four residues of the one,
 * then of the other.
 */
function inTiles([t0, t1]: readonly [readonly bigint[], readonly bigint[]]): bigint[] {
  return Array.from({ length: DEGREE / 4 }, (_, tile) =>
    [t0, t1].flatMap((component) => component.slice(4 * tile, 4 * tile + 4)),
  ).flat();
}

/** An uncompressed SEAL ciphertext whose first component they are. */
function asCiphertext(residues: readonly bigint[]): Buffer {
  const bytes = Buffer.from(packed.stored[0]!);
  residues.forEach((residue, i) => bytes.writeBigUInt64LE(residue, CIPHERTEXT_WORDS_AT + 8 * i));
  return bytes;
}

function words32(residues: readonly bigint[]): Buffer {
  return Buffer.from(Uint32Array.from(residues, Number).buffer);
}

testThatTheLogTellsNothing(server);
