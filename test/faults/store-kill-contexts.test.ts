import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import type { ContextKeys } from "../../server/store/gallery-store.ts";
import { PAIRWISE, keysOfContext, readContext, sameKeys } from "../unit/store/contexts-fixture.ts";
import { CONTEXT, PACKED, StoreFixture } from "../unit/store/fixture.ts";

const CHILD = fileURLToPath(new URL("store-kill-contexts-child.ts", import.meta.url));
const ROUNDS = 6;

/** How far the child got with a context. */
type Progress = "try create" | "ack create" | "try delete" | "ack delete";

test("after kill -9 at any moment a context is there with all its keys or not at all, and an acknowledged one as it was acknowledged", {
  timeout: 120_000,
}, async () => {
  await using fixture = new StoreFixture();
  await fixture.store.createContext({ contextId: CONTEXT, scheme: PACKED });
  const contexts = new Map<string, Progress>();
  for (let round = 0; round < ROUNDS; round++) {
    await fixture.store.close();
    for (const [contextId, progress] of await killed(fixture.path, 1 + round * 10_000, 1 + 10 * round, 3 * round))
      contexts.set(contextId, progress);
    await fixture.reopen();
    await check(fixture, contexts);
  }
  const ended = [...contexts.values()];
  for (const progress of ["ack create", "ack delete"])
    assert.ok(
      ended.filter((each) => each === progress).length > ROUNDS / 2,
      `the child got some work done: ${ended.join()}`,
    );
  assert.ok(ended.includes("try create"), "a creation was cut off");
});

/** Runs the child and kills it `ms` after so many lines, so that a slow machine gets as far; returns how far it got. */
async function killed(path: string, first: number, lines: number, ms: number): Promise<Map<string, Progress>> {
  const child = spawn(process.execPath, ["--conditions=source", CHILD, path, String(first)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const output = text(child.stdout);
  let said = 0;
  child.stdout.on("data", (bytes: Buffer) => {
    if (said < lines && (said += bytes.toString().split("\n").length - 1) >= lines)
      setTimeout(() => child.kill("SIGKILL"), ms);
  });
  const [, signal] = (await once(child, "exit")) as [number | null, string | null];
  assert.equal(signal, "SIGKILL", "the child ran until it was killed");
  return new Map(
    (await output)
      .split("\n")
      .slice(0, -1)
      .map((line) => [line.slice(11), line.slice(0, 10) as Progress]),
  );
}

async function check(fixture: StoreFixture, contexts: Map<string, Progress>): Promise<void> {
  const listed = fixture.store.listContexts("", 10_000).map(({ contextId }) => contextId);
  const file = fixture.dataFile();
  for (const [contextId, progress] of contexts) {
    const keys = keysOfContext(contextId);
    if (listed.includes(contextId)) {
      assert.notEqual(progress, "ack delete");
      const read = await readContext(fixture, contextId);
      assert.deepEqual(read.scheme, PAIRWISE);
      assert.ok(sameKeys(read.keys, keys));
    } else {
      assert.notEqual(progress, "ack create");
      if (progress === "ack delete")
        assert.ok(!markers(keys).some((marker) => file.includes(marker)), "it was erased before that was acknowledged");
    }
  }
  assert.deepEqual(
    listed.filter((contextId) => !contexts.has(contextId)),
    [CONTEXT],
  );
}

/** 32 bytes from the start, the middle and the end of each key. */
function markers({ relinKeys, galoisKeys }: ContextKeys): Buffer[] {
  return [relinKeys, galoisKeys].flatMap((key) =>
    [0, Math.floor(key.length / 2), key.length - 32].map((start) => Buffer.from(key.subarray(start, start + 32))),
  );
}
