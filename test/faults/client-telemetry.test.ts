// Nothing leaves the machine but what is sent to the matching server, and nothing stays behind but veilface's own
// files: not for the client's libraries, nor for the server's.
import assert from "node:assert/strict";
import { join } from "node:path";
import { suite, test } from "node:test";
import { outsideWorldMissing, tracesOf } from "../support/process/outside-world.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const OWN_FILE = /^\.cache\/veilface\/models\/[a-z0-9.-]+\/(detector|landmarks|descriptor|model)\.(onnx|json)$/;
// Longer than it takes a library that reports once it has been at work for a while.
const ENCODING_SECONDS = 15;

const missing = outsideWorldMissing();
if (missing !== undefined) console.error(`SKIPPED: whether libraries phone home is not tested, it takes ${missing}`);

suite("in a network that takes notes, with an empty home folder", { skip: missing !== undefined }, () => {
  test("a look-up and a connection are noted", async () => {
    const code =
      'require("node:net").connect(443, "somewhere.example").on("close", () => undefined).on("error", () => undefined)';
    const { asked } = await tracesOf(["-e", code]);
    assert.ok(asked.includes("look-up of somewhere.example"), asked.join());
    assert.ok(asked.includes("connection to port 443"), asked.join());
  });

  test("encoding photos asks for no name, makes no connection and leaves only the model pack", async () => {
    const traces = await tracesOf([
      "--conditions=source",
      join(import.meta.dirname, "client-telemetry-child.ts"),
      `${ENCODING_SECONDS}`,
    ]);
    assert.match(traces.output, /^[1-9]\d* photos encoded, [1-9]\d* in a worker thread$/m);
    assertNothingBut(traces);
  });

  test("the demo, with a server and a client, does neither", async () => {
    const traces = await tracesOf(["--conditions=source", join(ROOT, "demo", "demo.ts")]);
    assert.match(traces.output, /every decision is right/i);
    assertNothingBut(traces);
  });
});

function assertNothingBut({ asked, files }: { asked: readonly string[]; files: readonly string[] }): void {
  assert.deepEqual(asked, []);
  assert.deepEqual(
    files.filter((file) => !OWN_FILE.test(file)),
    [],
  );
  assert.equal(files.length, 4);
}
