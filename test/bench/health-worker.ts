import { parentPort, workerData } from "node:worker_threads";
import { IndependentClient } from "../support/independent-client.ts";

// Health checks one after the other, 5 ms apart, in a thread of their own so that the client's own work delays none. Posts the
// milliseconds of each.
const client = new IndependentClient(workerData as string);
for (;;) {
  const start = performance.now();
  await client.call("grpc.health.v1.Health/Check", { service: "" });
  parentPort!.postMessage(performance.now() - start);
  await new Promise((resolve) => setTimeout(resolve, 5));
}
