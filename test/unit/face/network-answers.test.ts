// Networks of a user's pack that load and run, but are not what the pipeline reads.
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { OnnxGraph } from "../../../face/default-pack/onnx-graph.ts";
import { detectFaces } from "../../../face/detector.ts";
import { FaceError } from "../../../face/errors.ts";
import { locateLandmarks } from "../../../face/landmarks.ts";
import { ModelSession } from "../../../face/session.ts";

const folder = await mkdtemp(join(tmpdir(), "veilface-networks-"));
after(() => rm(folder, { recursive: true, force: true }));

const [width, height] = [8, 6];
const IMAGE = { width, height, data: new Uint8Array(3 * width * height).fill(128) };

/** A network that takes a square image and answers, under each name, with as many numbers as it has rows. */
async function openNetwork(side: number, ...outputs: readonly string[]): Promise<ModelSession> {
  const graph = new OnnxGraph("rows");
  const rows = graph.node("GlobalAveragePool", [graph.input("image", [1, side, side, 3])]);
  for (const output of outputs) {
    graph.named(output, { operator: "Flatten", inputs: [rows], attributes: { axis: 1 } });
    graph.output(output, [1, side]);
  }
  const path = join(folder, `${side}.onnx`);
  await writeFile(path, graph.encode());
  return ModelSession.open(path);
}

async function assertRefused(work: Promise<unknown>, says: RegExp): Promise<void> {
  await assert.rejects(
    work,
    (error) => error instanceof FaceError && error.reason === "MODEL_PACK_INVALID" && says.test(error.message),
  );
}

test("a landmark network that answers with other than 68 points is refused", async () => {
  await using session = await openNetwork(112, "landmarks");
  const box = { left: 0, top: 0, right: width, bottom: height };
  await assertRefused(locateLandmarks(session, IMAGE, box), /landmark network gave 112 numbers, expected 136/);
});

test("a detector that answers with other than four numbers a box is refused", async () => {
  await using session = await openNetwork(512, "boxes", "scores");
  await assertRefused(detectFaces(session, IMAGE), /detector network gave 512 numbers for 512 boxes, expected 4 each/);
});
