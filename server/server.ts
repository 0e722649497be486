import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { ContextServiceDefinition, GalleryServiceDefinition, MatchingServiceDefinition } from "@veilface/proto";
import { ServerCredentials } from "@grpc/grpc-js";
import { createServer } from "nice-grpc";
import type { Server } from "nice-grpc";
import { errorDetailsServerMiddleware } from "nice-grpc-error-details";
import { HealthDefinition, HealthServiceImpl, HealthState } from "nice-grpc-server-health";
import { ServerReflection, ServerReflectionService } from "nice-grpc-server-reflection";
import type { Logger } from "pino";
import type { ServerConfig } from "./config.ts";
import { contextService } from "./context-service.ts";
import { galleryService } from "./gallery-service.ts";
import { Matcher } from "./matcher.ts";
import { matchingService } from "./matching-service.ts";
import { PairwiseMatcher } from "./pairwise/pairwise-matcher.ts";
import { LmdbStore } from "./store/lmdb-store.ts";
import { wall } from "./wall.ts";
import { WorkerPool } from "./worker-pool.ts";

const SERVICES = [ContextServiceDefinition, GalleryServiceDefinition, MatchingServiceDefinition];

/** A server that is listening. */
export interface RunningServer {
  /** host:port with the real port. */
  readonly address: string;
  /** Refuses new calls, lets those under way end within the grace time, then closes the store. */
  stop(): Promise<void>;
}

/** Starts a matching server: store, worker threads, services. Resolves once it is ready for calls. */
export async function startServer(config: ServerConfig, log: Logger): Promise<RunningServer> {
  const credentials = await credentialsOf(config);
  const store = LmdbStore.open({ path: config.dataFolder, log, ...(config.maxDataBytes === undefined ? {} : { maxBytes: config.maxDataBytes }) });
  const pool = new WorkerPool(config.workers);
  const [matcher, pairwise] = [new Matcher(pool), new PairwiseMatcher(pool)];
  const health = HealthState();
  const stopping = new AbortController();
  try {
    await pool.ready();
    const server = createServer().use(errorDetailsServerMiddleware).use(wall(log));
    server.add(ContextServiceDefinition, contextService(store, pairwise));
    server.add(GalleryServiceDefinition, galleryService(store, { packed: matcher, pairwise }, stopping.signal));
    server.add(MatchingServiceDefinition, matchingService(store, { packed: matcher, pairwise }));
    server.add(HealthDefinition, HealthServiceImpl(health));
    if (config.reflection) server.add(ServerReflectionService, ServerReflection(await descriptorSet(), SERVICES.map((service) => service.fullName)));
    const port = await server.listen(config.address, credentials);
    for (const service of SERVICES) health.setStatus("healthy", service.fullName);
    const address = config.address.replace(/:\d+$/, `:${port}`);
    const stop = async (): Promise<void> => {
      health.setStatus("unhealthy");
      stopping.abort();
      await endCalls(server, config.graceSeconds);
      await pool.close();
      await store.close();
    };
    return { address, stop };
  } catch (error) {
    await pool.close();
    await store.close();
    throw error;
  }
}

async function endCalls(server: Server, graceSeconds: number): Promise<void> {
  const overdue = setTimeout(() => {
    server.forceShutdown();
  }, graceSeconds * 1000);
  await server.shutdown();
  clearTimeout(overdue);
}

async function credentialsOf({ tls }: ServerConfig): Promise<ServerCredentials> {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const [certificate, key] = await Promise.all([readFile(tls.certificateFile), readFile(tls.keyFile)]);
  return ServerCredentials.createSsl(null, [{ cert_chain: certificate, private_key: key }]);
}

async function descriptorSet(): Promise<Buffer> {
  return readFile(fileURLToPath(import.meta.resolve("@veilface/proto/descriptor-set")));
}
