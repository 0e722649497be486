import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { Ciphertext } from "node-seal";
import {
  PairwiseEvaluator,
  checkGaloisKeys,
  checkRelinKeys,
  loadPublicSeal,
  readEncryptionParameters,
  withScale,
} from "@veilface/fhe";
import type { PairwiseOperation } from "@veilface/fhe";
import { openPairwiseContext } from "../../../fhe/pairwise/levels.ts";
import { SMALL, TensealMaker, stepsUpTo } from "../../support/independent/tenseal-maker.ts";

interface Memory {
  readonly buffer: ArrayBuffer;
}
/** The part of WebAssembly that starts a module; the types of Node have none of it. */
interface Starter {
  instantiate: (
    source: unknown,
    imports: unknown,
  ) => Promise<{ readonly instance: { readonly exports: Readonly<Record<string, unknown>> } }>;
  readonly Memory: new () => Memory;
}

// The memories of all SEALs that this process starts: they grow and never shrink.
const memories: Memory[] = [];
const { WebAssembly: starter } = globalThis as unknown as { WebAssembly: Starter };
const { instantiate } = starter;
starter.instantiate = async (source, imports) => {
  const started = await instantiate(source, imports);
  memories.push(...Object.values(started.instance.exports).filter((value) => value instanceof starter.Memory));
  return started;
};

const COMPARISONS = 200;
const seal = await loadPublicSeal();
const maker = await TensealMaker.create(SMALL);
const parameters = withScale(readEncryptionParameters(seal, maker.encryptionParameters()), SMALL.scale);
const context = openPairwiseContext(seal, parameters);
const evaluator = evaluatorOf(stepsUpTo(8));
after(() => {
  for (const handle of [evaluator, context, maker]) handle[Symbol.dispose]();
});
const [x, y] = [maker.ciphertext([1, 2, 3], { seeded: true }), maker.ciphertext([1, 3, 5])] as const;

function evaluatorOf(steps: readonly number[]): PairwiseEvaluator {
  const made = new PairwiseEvaluator(seal, parameters);
  const keys = maker.makeKeys(steps);
  const [relinKeys, galoisKeys] = [
    checkRelinKeys(made.levels, keys.relinKeys()).bytes,
    checkGaloisKeys(made.levels, keys.galoisKeys()).bytes,
  ];
  made.loadKeys({ relinKeys, galoisKeys });
  return made;
}

/** By how much memory grows while something is done often, after it was done some times. */
function growth(times: number, run: () => void): number {
  const bytes = (): number => memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  for (let i = 0; i < 10; i++) run();
  const before = bytes();
  for (let i = 0; i < times; i++) run();
  return bytes() - before;
}

function compareOnce(operation: PairwiseOperation, second = y, dimension = 11): Uint8Array {
  using first = evaluator.open(x);
  using other = evaluator.open(second);
  return evaluator.compare({ operation, dimension, bound: undefined }, first, other);
}

test("SEAL's memory does not grow with the number of comparisons", () => {
  assert.ok(memories.length > 0);
  for (const operation of ["SQUARED_DISTANCE", "INNER_PRODUCT"] as const) {
    assert.equal(
      growth(COMPARISONS, () => {
        compareOnce(operation);
      }),
      0,
      operation,
    );
  }
});

test("SEAL's memory does not grow with comparisons and ciphertexts that are refused", () => {
  assert.equal(
    growth(COMPARISONS, () => {
      assert.throws(
        () => {
          compareOnce("SQUARED_DISTANCE", x);
        },
        { reason: "CIPHERTEXT_TRANSPARENT" },
      );
    }),
    0,
  );
  assert.equal(
    growth(COMPARISONS, () => {
      assert.throws(
        () => {
          compareOnce("INNER_PRODUCT", y, 32);
        },
        { reason: "SEAL_FAILED" },
      );
    }),
    0,
  );
  const malformed = Buffer.from(maker.ciphertext([1], { compression: "none" }));
  malformed.writeBigUInt64LE((1n << 64n) - 1n, malformed.length - 8);
  assert.equal(
    growth(COMPARISONS, () => {
      assert.throws(() => evaluator.open(malformed), { reason: "CIPHERTEXT_MALFORMED" });
    }),
    0,
  );
});

test("SEAL's memory does not grow with contexts that were opened, used and closed", () => {
  const { levels } = evaluator;
  const keys = maker.makeKeys([1]);
  const [relinKeys, galoisKeys] = [
    checkRelinKeys(levels, keys.relinKeys()).bytes,
    checkGaloisKeys(levels, keys.galoisKeys()).bytes,
  ];
  const refused = Buffer.from(relinKeys);
  refused.writeBigUInt64LE((1n << 64n) - 1n, refused.length - 8);
  assert.equal(
    growth(20, () => {
      using opened = new PairwiseEvaluator(seal, parameters);
      assert.throws(
        () => {
          opened.loadKeys({ relinKeys: refused, galoisKeys });
        },
        { reason: "KEYS_MALFORMED" },
      );
      opened.loadKeys({ relinKeys, galoisKeys });
    }),
    0,
  );
  assert.equal(
    growth(20, () => {
      assert.throws(() => new PairwiseEvaluator(seal, { ...parameters, primes: parameters.primes.with(0, 15n) }), {
        reason: "PARAMETERS_INVALID",
      });
    }),
    0,
  );
});

test("a ciphertext that SEAL refuses is freed", () => {
  const made: { isDeleted(): boolean }[] = [];
  const Watched = new Proxy(seal.Ciphertext, {
    construct: (target, args) => {
      made.push(Reflect.construct(target, args) as Ciphertext);
      return made.at(-1)!;
    },
  });
  using watched = new PairwiseEvaluator(
    new Proxy(seal, {
      get: (target, name) => (name === "Ciphertext" ? Watched : (Reflect.get(target, name) as unknown)),
    }),
    parameters,
  );
  const malformed = Buffer.from(maker.ciphertext([1], { compression: "none" }));
  malformed.writeBigUInt64LE((1n << 64n) - 1n, malformed.length - 8);
  assert.throws(() => watched.open(malformed), { reason: "CIPHERTEXT_MALFORMED" });
  assert.deepEqual(
    made.map((handle) => handle.isDeleted()),
    [true],
  );
});

test("a ciphertext left behind by each comparison, of its smallest kind, would have been seen", () => {
  const result = compareOnce("INNER_PRODUCT");
  const left = new DisposableStack();
  assert.ok(
    growth(COMPARISONS, () => {
      left.use(new seal.Ciphertext()).loadFromArray(context, result);
    }) > 0,
  );
  left.dispose();
});
