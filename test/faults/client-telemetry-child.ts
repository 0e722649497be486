// Encodes a photo in a worker thread, whose process.env is a copy that native libraries do not see, and then one again
// and again for so many seconds, as a door does in a morning.
import { once } from "node:events";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { FaceEncoder, loadDefaultModelPack } from "@veilface/face";
import { readPhoto } from "../../scripts/dev/photos.ts";

if (isMainThread) {
  const worker = new Worker(import.meta.filename);
  const [inWorker] = (await once(worker, "message")) as [number];
  const encoded = await encodeFor(Number(process.argv[2]) * 1000);
  console.log(`${encoded} photos encoded, ${inWorker} in a worker thread`);
} else {
  parentPort!.postMessage(await encodeFor(0));
}

async function encodeFor(milliseconds: number): Promise<number> {
  await using encoder = await FaceEncoder.open(await loadDefaultModelPack());
  const photo = await readPhoto("cage.jpg");
  const end = performance.now() + milliseconds;
  let encoded = 0;
  do {
    await encoder.encodeSingle(photo);
    encoded++;
  } while (performance.now() < end);
  return encoded;
}
