import { parentPort, workerData } from "node:worker_threads";
import { HealthDefinition } from "nice-grpc-server-health";
import { createChannel, createClient } from "nice-grpc";

// Health checks one after the other, 5 ms apart, in a thread of their own so that the client's own work delays none.
// Posts the milliseconds of each.
const client = createClient(HealthDefinition, createChannel(workerData as string));
for (;;) {
  const start = performance.now();
  await client.check({ service: "" });
  parentPort!.postMessage(performance.now() - start);
  await new Promise((resolve) => setTimeout(resolve, 5));
}
