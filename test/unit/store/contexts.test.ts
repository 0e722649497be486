import assert from "node:assert/strict";
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { mock, test } from "node:test";
import fc from "fast-check";
import { openBlockReader } from "../../../server/store/lmdb/readers/block-reader.ts";
import { WriteQueue } from "../../../server/store/lmdb/disk/write-queue.ts";
import { MIB, PAIRWISE, keysOf, readContext, sameKeys, samplesFound } from "./contexts-fixture.ts";
import { CONTEXT, PACKED, PLAIN, SPACE, StoreFixture, hasReason, placeOf, readAll, residuesOf } from "./fixture.ts";

const OTHER = "d".repeat(64);
const THIRD = "e".repeat(64);

for (const [relinBytes, galoisBytes] of [
  [1, 0],
  [31, 4095],
  [4096, 4097],
  [MIB - 1, MIB],
  [MIB + 1, 2 * MIB + 1],
  [5 * MIB, 20_000_000],
] as const) {
  test(`keys of ${relinBytes} and ${galoisBytes} bytes are read back bit for bit, also after a restart`, async () => {
    await using fixture = new StoreFixture();
    const keys = keysOf("k", relinBytes, galoisBytes);
    const context = await fixture.store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, keys);
    assert.deepEqual(context.scheme, PAIRWISE);
    for (let opening = 0; opening < 2; opening++) {
      const read = await readContext(fixture, CONTEXT);
      assert.deepEqual(read.scheme, PAIRWISE);
      assert.ok(sameKeys(read.keys, keys));
      assert.deepEqual(fixture.store.getContext(CONTEXT), context);
      await fixture.reopen();
    }
  });
}

test("what is read of a context belongs to the reader: changing it changes nothing for the next one", async () => {
  await using fixture = new StoreFixture();
  const keys = keysOf("k", 10_000, 20_000);
  await fixture.store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, keys);
  const reader = openBlockReader(fixture.path);
  const first = reader.pairwiseContext(CONTEXT);
  first.keys.relinKeys.fill(0);
  first.scheme.parameters.fill(0);
  const second = reader.pairwiseContext(CONTEXT);
  assert.ok(sameKeys(second.keys, keys));
  assert.deepEqual(second.scheme, PAIRWISE);
  await reader.close();
});

test("every scheme is stored as it is, to the last bit of its numbers", async () => {
  await using fixture = new StoreFixture();
  const positive = fc.double({ min: Number.MIN_VALUE, noDefaultInfinity: true, noNaN: true });
  const schemes = fc.record(
    {
      kind: fc.constant("pairwise" as const),
      parameters: fc.uint8Array({ maxLength: 3000 }),
      scale: positive,
      degree: fc.nat(),
      modulusBits: fc.array(fc.nat(60)),
      rotationSteps: fc.array(fc.nat()),
      maxDimension: fc.nat(),
      maxDistance: positive,
    },
    { noNullPrototype: true },
  );
  const keys = keysOf("k", 10);
  let contexts = 0;
  await fc.assert(
    fc.asyncProperty(schemes, async (scheme) => {
      const contextId = (++contexts).toString(16).padStart(64, "0");
      const { createTime } = await fixture.store.createContext({ contextId, scheme }, keys);
      assert.deepEqual(fixture.store.getContext(contextId), { contextId, scheme, createTime });
    }),
    { numRuns: 50 },
  );
});

test("contexts of both schemes are listed together", async () => {
  await using fixture = new StoreFixture();
  await fixture.store.createContext({ contextId: OTHER, scheme: PACKED });
  await fixture.store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, keysOf("k", 5000));
  assert.deepEqual(
    fixture.store.listContexts("", 9).map(({ contextId, scheme }) => [contextId, scheme]),
    [
      [CONTEXT, PAIRWISE],
      [OTHER, PACKED],
    ],
  );
});

test("a pairwise context without keys and a packed one with keys are mistakes of the caller, and nothing is stored", async () => {
  await using fixture = new StoreFixture();
  await assert.rejects(fixture.store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }), TypeError);
  await assert.rejects(
    fixture.store.createContext({ contextId: CONTEXT, scheme: PACKED }, keysOf("k", 5000)),
    TypeError,
  );
  assert.deepEqual(fixture.store.listContexts("", 9), []);
});

test("a context is read with its keys only if it is there and pairwise", async () => {
  await using fixture = new StoreFixture();
  await fixture.store.createContext({ contextId: CONTEXT, scheme: PACKED });
  await fixture.store.createContext({ contextId: OTHER, scheme: PAIRWISE }, keysOf("k", 5000));
  assert.deepEqual(fixture.store.contextLocation(OTHER), { path: fixture.path, contextId: OTHER });
  await fixture.store.deleteContext(OTHER, false);
  await assert.rejects(readContext(fixture, CONTEXT), TypeError);
  for (const contextId of [OTHER, THIRD]) {
    await assert.rejects(readContext(fixture, contextId), hasReason("CONTEXT_NOT_FOUND"));
    assert.throws(() => fixture.store.contextLocation(contextId), hasReason("CONTEXT_NOT_FOUND"));
  }
});

test("a context that is created twice, also at once, has one copy of its keys: the first", async () => {
  await using fixture = new StoreFixture();
  const keys = ["one", "two", "three"].map((seed) => keysOf(seed, 200_000));
  const made = await Promise.all(
    keys.slice(0, 2).map((each) => fixture.store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, each)),
  );
  made.push(await fixture.store.createContext({ contextId: CONTEXT, scheme: { ...PAIRWISE, scale: 5 } }, keys[2]));
  assert.deepEqual(made, [made[0], made[0], made[0]]);
  const file = fixture.dataFile();
  const start = Buffer.from(keys[0]!.relinKeys.subarray(0, 32));
  assert.equal(file.indexOf(start), file.lastIndexOf(start));
  assert.deepEqual(
    keys.slice(1).map((each) => samplesFound(file, each)),
    [0, 0],
  );
  assert.ok(sameKeys((await readContext(fixture, CONTEXT)).keys, keys[0]!));
});

test("no byte of a deleted context's keys is in the data file once the deletion is acknowledged, and its neighbours keep theirs", async () => {
  await using fixture = new StoreFixture();
  const keys = {
    [CONTEXT]: keysOf("one", 3 * MIB + 5, 40),
    [OTHER]: keysOf("two", 100_000),
    [THIRD]: keysOf("three", 4095, MIB),
  };
  for (const [contextId, each] of Object.entries(keys))
    await fixture.store.createContext({ contextId, scheme: PAIRWISE }, each);
  await fixture.store.createGallery({ ...PLAIN, galleryId: "g", contextId: THIRD, packedStride: 0 });
  await fixture.put("t", "s");
  const found = (): boolean[] => Object.values(keys).map((each) => samplesFound(fixture.dataFile(), each) > 0);
  assert.deepEqual(found(), [true, true, true]);
  await fixture.store.deleteContext(CONTEXT, false);
  assert.deepEqual(found(), [false, true, true]);
  await assert.rejects(fixture.store.deleteContext(THIRD, false), hasReason("CONTEXT_IN_USE"));
  assert.ok(sameKeys((await readContext(fixture, THIRD)).keys, keys[THIRD]!));
  await fixture.store.deleteContext(THIRD, true);
  assert.deepEqual(
    [...found(), fixture.dataFile().includes(Buffer.from(residuesOf("t")).subarray(0, 32))],
    [false, true, false, false],
  );
  await fixture.reopen();
  assert.deepEqual(found(), [false, true, false]);
  assert.ok(sameKeys((await readContext(fixture, OTHER)).keys, keys[OTHER]!));
});

test("an erasure of keys that the end of the process cut short is finished at the next opening", async () => {
  await using fixture = new StoreFixture();
  const keys = keysOf("k", 6 * MIB);
  await fixture.store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, keys);
  await Promise.all([fixture.store.deleteContext(CONTEXT, false), fixture.store.close()]);
  assert.ok(samplesFound(fixture.dataFile(), keys) > 0, "the close came before the erasure");
  await fixture.reopen();
  assert.throws(() => fixture.store.getContext(CONTEXT), hasReason("CONTEXT_NOT_FOUND"));
  for (let tries = 0; tries < 40 && samplesFound(fixture.dataFile(), keys) > 0; tries++)
    await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(samplesFound(fixture.dataFile(), keys), 0);
});

for (const key of ["relinKeys", "galoisKeys"] as const) {
  test(`one flipped bit of ${key} in the data file is refused, and other contexts are read`, async () => {
    await using fixture = new StoreFixture();
    const keys = keysOf("k", 1.5 * MIB);
    await fixture.store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, keys);
    await fixture.store.createContext({ contextId: OTHER, scheme: PAIRWISE }, keysOf("other", 5000));
    const file = openSync(join(fixture.path, "data.mdb"), "r+");
    const at = fixture.dataFile().indexOf(Buffer.from(keys[key]).subarray(MIB, MIB + 64));
    writeSync(file, Uint8Array.of(keys[key][MIB]! ^ 1), 0, 1, at);
    closeSync(file);
    await assert.rejects(readContext(fixture, CONTEXT), hasReason("STORED_CORRUPT"));
    assert.ok(sameKeys((await readContext(fixture, OTHER)).keys, keysOf("other", 5000)));
  });
}

test("keys that go beyond the store's limit are refused before anything is written, and shorter ones are taken", async () => {
  await using fixture = await StoreFixture.withGallery({ maxBytes: 4 * MIB });
  const large = keysOf("large", 2 * MIB, 2.25 * MIB);
  const before = fixture.dataFile();
  await assert.rejects(
    fixture.store.createContext({ contextId: OTHER, scheme: PAIRWISE }, large),
    hasReason("STORAGE_FULL"),
  );
  assert.throws(() => fixture.store.getContext(OTHER), hasReason("CONTEXT_NOT_FOUND"));
  assert.equal(samplesFound(fixture.dataFile(), large), 0);
  assert.equal(fixture.dataFile().length, before.length);
  const small = keysOf("small", MIB, 2 * MIB);
  await fixture.store.createContext({ contextId: OTHER, scheme: PAIRWISE }, small);
  assert.ok(sameKeys((await readContext(fixture, OTHER)).keys, small));
  await assert.rejects(
    fixture.store.createContext({ contextId: THIRD, scheme: PAIRWISE }, small),
    hasReason("STORAGE_FULL"),
  );
  await fixture.store.createContext({ contextId: OTHER, scheme: PAIRWISE }, large);
  await fixture.store.deleteContext(OTHER, false);
  await fixture.store.createContext({ contextId: THIRD, scheme: PAIRWISE }, small);
});

test("loose templates of a pairwise gallery have a block each and may be as large as SEAL's ciphertexts", async () => {
  await using fixture = new StoreFixture();
  const { store } = fixture;
  await store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, keysOf("k", 5000));
  const made = await store.createGallery({
    ...PLAIN,
    galleryId: "g",
    contextId: CONTEXT,
    packedStride: 0,
    space: { ...SPACE, dimension: 16384 },
  });
  assert.deepEqual([made.packedStride, made.space.dimension], [0, 16384]);
  const put = async (templateId: string, seed: string) => {
    const placement = fixture.store.reservePlacement("g", { templateId, subjectId: "s" }, { stride: 16384, slots: 1 });
    return (
      await fixture.store.putLooseTemplate("g", {
        templateId,
        subjectId: "s",
        placement,
        residues: residuesOf(seed, 1_900_000),
      })
    ).entry;
  };
  const entries = [await put("a", "a 1"), await put("b", "b 1")];
  await fixture.reopen();
  entries.push(await put("c", "c 1"), await put("a", "a 2"));
  assert.deepEqual(entries.map(placeOf), ["0/0", "1/0", "2/0", "0/0"]);
  await fixture.store.deleteTemplates("g", { templateIds: ["b"] });
  const { packedStride, strides, templateCount } = fixture.store.getGallery("g");
  assert.deepEqual([packedStride, strides, templateCount], [0, [16384], 2]);
  const stored = await readAll(fixture);
  assert.deepEqual([...stored.keys()], ["0/0", "2/0"]);
  assert.ok(
    Buffer.from(stored.get("0/0")!).equals(residuesOf("a 2", 1_900_000)) &&
      Buffer.from(stored.get("2/0")!).equals(residuesOf("c 1", 1_900_000)),
  );
});

test("keys are written a few MiB to a commit, and no byte of them stays if one of those fails", async () => {
  await using fixture = new StoreFixture();
  const keys = keysOf("k", 9 * MIB, 12 * MIB);
  // Called below with the queue that it is a method of.
  // eslint-disable-next-line @typescript-eslint/unbound-method
  const { write } = WriteQueue.prototype;
  const sizes: number[] = [];
  const failing = mock.method(WriteQueue.prototype, "write", async function <
    T,
  >(this: WriteQueue, action: () => T, bytes = 0): Promise<T> {
    sizes.push(bytes);
    if (sizes.filter((size) => size > 0).length === 5 && bytes > 0) throw new Error("a fault");
    return write.call(this, action, bytes) as Promise<T>;
  });
  try {
    await assert.rejects(fixture.store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, keys), /a fault/);
  } finally {
    failing.mock.restore();
  }
  assert.ok(Math.max(...sizes) <= 4 * MIB, `${Math.max(...sizes) / MIB} MiB at once`);
  assert.equal(samplesFound(fixture.dataFile(), keys), 0);
  await fixture.store.createContext({ contextId: CONTEXT, scheme: PAIRWISE }, keys);
  assert.ok(sameKeys((await readContext(fixture, CONTEXT)).keys, keys));
});
