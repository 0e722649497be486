// What every contract test file starts with: one server, one client, keys, and a look through the log at the end.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { IndependentClient } from "./independent-client.ts";
import { IndependentKey } from "./independent-crypto.ts";
import type { SetName } from "./independent-crypto.ts";
import { leaksIn, watchedCount } from "../leak-watch.ts";
import { ServerProcess } from "../../../scripts/dev/server-process.ts";

/** A server for a test file; it goes away after the file's last test. `args`: more flags for the server. */
export async function startContractServer(
  args: readonly string[] = [],
): Promise<{ server: ServerProcess; client: IndependentClient }> {
  const server = await ServerProcess.start(args);
  const client = new IndependentClient(server.address);
  after(async () => {
    client[Symbol.dispose]();
    await server[Symbol.asyncDispose]();
  });
  return { server, client };
}

/** A key for a test file; freed after the file's last test. */
export async function contractKey(set: SetName = "PACKED_N4096_Q60"): Promise<IndependentKey> {
  const key = await IndependentKey.create(set);
  after(() => {
    key[Symbol.dispose]();
  });
  return key;
}

/** Call it last in a file: the test sees everything that the tests before it made the server print. */
export function testThatTheLogTellsNothing(server: ServerProcess): void {
  test("the server's log holds no byte of a key, a key id or a ciphertext, and no fault of the server", () => {
    assert.ok(watchedCount() > 0, "no bytes were watched");
    assert.match(server.log, /"method"/, "the log is at a level that shows calls");
    assert.deepEqual(leaksIn(server.log), []);
    assert.doesNotMatch(server.log, /"status":"(INTERNAL|UNKNOWN)"|"level":(50|60)/);
  });
}
