import assert from "node:assert/strict";
import { after, test } from "node:test";
import fc from "fast-check";
import { startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { IndependentClient } from "../support/independent/independent-client.ts";
import { randomEmbedding } from "../support/independent/independent-encoding.ts";
import {
  ENCODINGS,
  OPERATIONS,
  TestContext,
  createPairwiseContext,
  listContextIds,
  plainResult,
  sealUpload,
  tensealUpload,
} from "../support/independent/pairwise-context.ts";
import type { PairwiseContextMessage, Question } from "../support/independent/pairwise-context.ts";
import { tracesIn } from "../support/pairwise-traces.ts";
import { assertRefused } from "../support/independent/refusals.ts";
import {
  COMPRESSIONS,
  SMALL,
  TUTORIAL,
  TensealMaker,
  smallTolerance,
  stepsUpTo,
} from "../support/independent/tenseal-maker.ts";
import type { CkksParameters, EvaluationKeys, VectorForm } from "../support/independent/tenseal-maker.ts";

const { server, client } = await startContractServer();
const small = await makerOf(SMALL);
const smallKeys = small.makeKeys(stepsUpTo(1024));
const context = await TestContext.create(client, small, sealUpload(small, smallKeys));
const RPC = "ContextService";
const invalid = { status: "INVALID_ARGUMENT", reason: "FIELD_INVALID" } as const;

async function makerOf(parameters: CkksParameters): Promise<TensealMaker> {
  const maker = await TensealMaker.create(parameters);
  after(() => {
    maker[Symbol.dispose]();
  });
  return maker;
}

/** Compares two random unit vectors, and fails unless the result is the plain one. */
async function assertPlain(
  under: TestContext,
  dimension: number,
  question: Question,
  forms: readonly [VectorForm, VectorForm],
  tolerance = smallTolerance(dimension),
): Promise<void> {
  const [x, y] = [randomEmbedding(dimension), randomEmbedding(dimension)];
  const [first, second] = forms.map((form, k) => under.vector([x, y][k]!, "SEAL", form)) as [
    ReturnType<TestContext["vector"]>,
    ReturnType<TestContext["vector"]>,
  ];
  const found = await under.compare(first, second, { dimension, ...question });
  const expected = plainResult(question.operation ?? "SQUARED_DISTANCE", x, y);
  assert.ok(
    Math.abs(found - expected) < tolerance,
    `${found}, but the plain result is ${expected}: ${dimension} components, ${JSON.stringify(question)}, ${JSON.stringify(forms)}`,
  );
}

for (const dimension of [1, 2, 3, 100, 127, 128, 512, 2048]) {
  for (const operation of OPERATIONS) {
    test(`${operation} of ${dimension} components is the plain one, whatever the other slots hold`, async () => {
      for (const fill of ["repeated", "zeros", "others"] as const) {
        await assertPlain(context, dimension, { operation }, [{ fill }, { fill }]);
        await assertPlain(context, dimension, { operation, norm_bound: 1 }, [
          { fill, seeded: true },
          { fill: "others" },
        ]);
      }
    });
  }
}

test("any dimension, form, encoding and bound gives the plain result", async () => {
  const form = fc.record({
    fill: fc.constantFrom("repeated", "zeros", "others"),
    compression: fc.constantFrom(...COMPRESSIONS),
    seeded: fc.boolean(),
    symmetric: fc.boolean(),
  });
  const side = fc.record({ form, encoding: fc.constantFrom(...ENCODINGS) });
  const question = fc.record({
    operation: fc.constantFrom(...OPERATIONS),
    norm_bound: fc.constantFrom(0, 1, 1.7),
    reply: fc.constantFrom(undefined, ...ENCODINGS),
  });
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 2048 }), side, side, question, async (dimension, left, right, asked) => {
      const [x, y] = [randomEmbedding(dimension), randomEmbedding(dimension)];
      const found = await context.compare(
        context.vector(x, left.encoding, left.form),
        context.vector(y, right.encoding, right.form),
        { dimension, ...asked },
      );
      assert.ok(Math.abs(found - plainResult(asked.operation, x, y)) < smallTolerance(dimension));
    }),
    { numRuns: 60 },
  );
});

// Measured with eight keys: 6e-6 at most, nearly all of it the same for all results under one key.
test("the tutorial's parameters give results to 2e-5, with and without a bound on the norm", async () => {
  const maker = await makerOf(TUTORIAL);
  const tutorial = await TestContext.create(
    client,
    maker,
    sealUpload(maker, maker.makeKeys(stepsUpTo(2048)), { seeded: true, compression: "none" }),
  );
  for (const dimension of [1, 3, 128, 512, 4096]) {
    for (const operation of OPERATIONS) {
      for (const norm_bound of [0, 1])
        await assertPlain(tutorial, dimension, { operation, norm_bound }, [{}, { fill: "others" }], 2e-5);
    }
  }
});

test("a distance just below the largest is right, of either sign", async () => {
  const { pairwise } = await contextMessage(context.contextId);
  // The prime left has 35 bits, and the scale is 2^63 over 2^34; two bits are for the sign and for repeated vectors.
  assert.ok(Math.abs(Math.log2(pairwise.max_distance) - 4) < 0.01, `2^${Math.log2(pairwise.max_distance)}`);
  const side = Math.sqrt(0.98 * pairwise.max_distance);
  for (const [a, b, operation, expected] of [
    [side, 0, "SQUARED_DISTANCE", side ** 2],
    [side, side, "INNER_PRODUCT", side ** 2],
    [side, -side, "INNER_PRODUCT", -(side ** 2)],
  ] as const) {
    const found = await context.compare(context.vector([a, 1, 1]), context.vector([b, 1, 1]), {
      dimension: 1,
      operation,
    });
    assert.ok(Math.abs(found - expected) < 1e-3, `${found}, but the plain result is ${expected}`);
  }
});

test("a bound on the norm that is no such number is refused", async () => {
  const vector = context.vector([1]);
  for (const norm_bound of [-1, 1e-7, 1.1e6, NaN, Infinity]) {
    await assertRefused(context.ask(vector, context.vector([2]), { dimension: 1, norm_bound }), {
      ...invalid,
      field: "norm_bound",
      says: /1e-6|0\.000001/,
    });
  }
});

test("Galois keys for steps up to 64 serve vectors of 128 components, and no more", async () => {
  const some = await TestContext.create(client, small, sealUpload(small, small.makeKeys(stepsUpTo(64))));
  const { pairwise } = await contextMessage(some.contextId);
  assert.deepEqual([pairwise.rotation_steps, pairwise.max_dimension], [stepsUpTo(64), 128]);
  await assertPlain(some, 128, {}, [{}, {}]);
  const missing = { status: "INVALID_ARGUMENT", reason: "ROTATION_KEYS_MISSING", says: /\b128\b/ } as const;
  await assertRefused(
    some.ask(some.vector(randomEmbedding(129)), some.vector(randomEmbedding(129)), { dimension: 129 }),
    missing,
  );
  await assertRefused(
    some.ask(some.vector(randomEmbedding(1000)), some.vector(randomEmbedding(1000)), { dimension: 1000 }),
    { ...missing, says: /\b128, 256, 512\b/ },
  );
});

test("a gap in the steps bounds the dimension, and steps of no use are not kept", async () => {
  const gap = await createPairwiseContext(client, sealUpload(small, small.makeKeys([1, 2, 8, 3, -4, 5, 1024])));
  assert.deepEqual([gap.pairwise.rotation_steps, gap.pairwise.max_dimension], [[1, 2, 8, 1024], 4]);
  const missing = new TestContext(client, small, gap.context_id);
  await assertRefused(missing.ask(missing.vector([1, 2, 3, 4, 5]), missing.vector([5]), { dimension: 5 }), {
    status: "INVALID_ARGUMENT",
    reason: "ROTATION_KEYS_MISSING",
    says: /\b4\b/,
  });
  await assertPlain(missing, 4, {}, [{}, {}]);
});

test("the same keys make the same context, raw or in a TenSEAL context, in every compression; the id is the one that the contract defines", async () => {
  const keys = small.makeKeys(stepsUpTo(8));
  const expected = small.contextId(keys.relinKeys({ compression: "none" }), keys.galoisKeys({ compression: "none" }));
  for (const compression of COMPRESSIONS) {
    for (const upload of [
      sealUpload(small, keys, { compression }),
      tensealUpload(small.publicContext(keys, { compression })),
    ]) {
      assert.equal((await createPairwiseContext(client, upload)).context_id, expected);
    }
  }
  assert.equal((await listContextIds(client)).filter((id) => id === expected).length, 1);
  const others = small.makeKeys(stepsUpTo(8));
  assert.notEqual((await createPairwiseContext(client, sealUpload(small, others))).context_id, expected);
});

test("another scale makes another context", async () => {
  const upload = sealUpload(small, smallKeys);
  const other = await createPairwiseContext(client, { ...upload, pairwise: { ...upload.pairwise, scale: 2 ** 31 } });
  assert.notEqual(other.context_id, context.contextId);
  assert.equal(other.pairwise.scale, 2 ** 31);
});

test("key material is taken in either order and in chunks of any size", async () => {
  const keys = small.makeKeys([1]);
  const { pairwise, uploads } = sealUpload(small, keys);
  const created = await createPairwiseContext(client, { pairwise, uploads: uploads.toReversed() }, 77_777);
  assert.equal(created.context_id, idOf(keys));
});

test("contexts are described, listed and read with their parameters", async () => {
  const message = await contextMessage(context.contextId);
  assert.equal(message.scheme, "pairwise");
  assert.deepEqual(
    { ...message.pairwise, max_distance: 0, expected_error: 0 },
    {
      encryption_parameters: small.encryptionParameters("none"),
      scale: 2 ** 31.5,
      poly_modulus_degree: 4096,
      coeff_modulus_bits: [35, 34, 40],
      rotation_steps: stepsUpTo(1024),
      max_dimension: 2048,
      max_distance: 0,
      expected_error: 0,
      accepted_error: 0,
    },
  );
  assert.ok(
    message.pairwise.expected_error > 1e-5 && message.pairwise.expected_error < 1e-3,
    `${message.pairwise.expected_error}`,
  );
  assert.ok(Math.abs(message.create_time.seconds - Date.now() / 1000) < 120);
  const [page] = await client.call<{ contexts: PairwiseContextMessage[] }>(`${RPC}/ListContexts`, {});
  assert.deepEqual(
    page!.contexts.find(({ context_id }) => context_id === context.contextId),
    message,
  );
});

test("output-only fields of a context to be created are ignored", async () => {
  const keys = small.makeKeys([1]);
  const { pairwise, uploads } = sealUpload(small, keys);
  const boast = {
    ...pairwise,
    poly_modulus_degree: 16,
    coeff_modulus_bits: [1],
    rotation_steps: [5],
    max_dimension: 9,
    max_distance: 9,
  };
  const created = await createPairwiseContext(client, { pairwise: boast, uploads });
  assert.deepEqual(
    [
      created.context_id,
      created.pairwise.poly_modulus_degree,
      created.pairwise.rotation_steps,
      created.pairwise.max_dimension,
    ],
    [idOf(keys), 4096, [1], 2],
  );
});

test("a deleted context serves no more, its keys leave the data files, and it can be created again", async () => {
  const keys = small.makeKeys(stepsUpTo(4));
  const upload = sealUpload(small, keys);
  const doomed = await TestContext.create(client, small, upload);
  await doomed.assertServes();
  const stored = [keys.relinKeys({ compression: "none" }), ...halves(keys.galoisKeys({ compression: "none" }))];
  assert.ok(
    (await tracesIn(server.dataFolder, stored)) > 0,
    "the keys are stored as they are, or this test sees nothing",
  );
  await client.call(`${RPC}/DeleteContext`, { context_id: doomed.contextId });
  await assertRefused(doomed.assertServes(), { status: "NOT_FOUND", reason: "CONTEXT_NOT_FOUND" });
  await assertRefused(client.call(`${RPC}/GetContext`, { context_id: doomed.contextId }), {
    status: "NOT_FOUND",
    reason: "CONTEXT_NOT_FOUND",
  });
  assert.equal(await tracesIn(server.dataFolder, stored), 0);
  assert.equal((await createPairwiseContext(client, upload)).context_id, doomed.contextId);
  await doomed.assertServes();
});

test("sixty comparisons at once, under three contexts, each give their own result", async () => {
  const makers = [small, await makerOf(SMALL), await makerOf(SMALL)];
  const contexts = [
    context,
    ...(await Promise.all(
      makers
        .slice(1)
        .map((maker) => TestContext.create(client, maker, sealUpload(maker, maker.makeKeys(stepsUpTo(64))))),
    )),
  ];
  await Promise.all(
    Array.from({ length: 60 }, (_, k) =>
      assertPlain(contexts[k % 3]!, 1 + 2 * k, { operation: OPERATIONS[k % 2]! }, [{}, { fill: "zeros" }]),
    ),
  );
});

test("contexts work after a restart of the server, and are described as before", async () => {
  const before = await contextMessage(context.contextId);
  await server.restart();
  using again = new IndependentClient(server.address);
  const [read] = await again.call<{ context: PairwiseContextMessage }>(`${RPC}/GetContext`, {
    context_id: context.contextId,
  });
  assert.deepEqual(read!.context, before);
  await assertPlain(new TestContext(again, small, context.contextId), 128, {}, [{}, {}]);
});

async function contextMessage(context_id: string): Promise<PairwiseContextMessage> {
  const [answer] = await client.call<{ context: PairwiseContextMessage }>(`${RPC}/GetContext`, { context_id });
  return answer!.context;
}

function idOf(keys: EvaluationKeys): string {
  return small.contextId(keys.relinKeys({ compression: "none" }), keys.galoisKeys({ compression: "none" }));
}

function halves(bytes: Buffer): Buffer[] {
  const middle = Math.floor(bytes.length / 2);
  return [bytes.subarray(0, middle), bytes.subarray(middle)];
}

testThatTheLogTellsNothing(server);
