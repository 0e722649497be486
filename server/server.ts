import { readFile } from "node:fs/promises";
import { setDefaultHighWaterMark } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { createSecureContext } from "node:tls";
import {
  ContextServiceDefinition,
  GalleryServiceDefinition,
  MatchingServiceDefinition,
  ServerServiceDefinition,
} from "@veilface/proto";
import { ServerCredentials, logVerbosity, setLogVerbosity } from "@grpc/grpc-js";
import type { ServerInterceptor, ServerOptions } from "@grpc/grpc-js";
import { createServer } from "nice-grpc";
import type { Server } from "nice-grpc";
import { errorDetailsServerMiddleware } from "nice-grpc-error-details";
import { HealthDefinition, HealthServiceImpl, HealthState } from "nice-grpc-server-health";
import type { Logger } from "pino";
import { definedOnly } from "@veilface/proto";
import type { ServerConfig } from "./config.ts";
import { contextService } from "./rpc/context-service.ts";
import { ServerError } from "./errors.ts";
import { galleryService } from "./rpc/gallery-service.ts";
import { PackedMatcher } from "./compute/packed/packed-matcher.ts";
import { SharedScans } from "./compute/packed/shared-scans.ts";
import { matchingService } from "./rpc/matching-service.ts";
import { PairwiseMatcher } from "./compute/pairwise/pairwise-matcher.ts";
import { callGuard } from "./rpc/call-guard.ts";
import { OpenCalls } from "./rpc/open-calls.ts";
import { Connections } from "./rpc/connections.ts";
import type { ConnectionLimits } from "./rpc/connections.ts";
import { readableRequests } from "./rpc/readable-requests.ts";
import { addReflection } from "./rpc/reflection.ts";
import type { GalleryStore } from "./store/gallery-store.ts";
import { inWords } from "./start-errors.ts";
import { LmdbStore } from "./store/lmdb/lmdb-store.ts";
import type { LmdbStoreOptions } from "./store/lmdb/lmdb-store.ts";
import { tryStore } from "./store/lmdb/disk/store-trial.ts";
import { serverInfo, serverService } from "./rpc/server-service.ts";
import { wall } from "./rpc/wall.ts";
import { WorkerPool } from "./compute/worker-pool.ts";

// Messages that a call may have buffered before its handler reads them, or its client: each is up to 4 MiB. Node's
// default is 16, and grpc-js leaves it at that.
setDefaultHighWaterMark(true, 2);

const SERVICES = [
  ContextServiceDefinition,
  GalleryServiceDefinition,
  MatchingServiceDefinition,
  ServerServiceDefinition,
];

/** For calls that are under way on a connection that has reached its age: an hour. */
const AGE_GRACE_MS = 3_600_000;
/** Calls at once over one connection; gRPC clients wait with more. */
const MAX_STREAMS = 256;
/**
 * An answer (1 MiB at most) that is not read in two minutes: a client below 9 kB/s, or one that holds on to the server.
 */
const UNREAD_MS = 120_000;
/** For handlers to notice that their connections are gone. */
const HANDLERS_MS = 1000;

/** A server that is listening. */
export interface RunningServer {
  /** Where it listens, as "host:port" with the real port. */
  readonly address: string;
  /** Refuses new calls, lets those under way end within the grace time, then closes the store. */
  stop(): Promise<void>;
}

/**
 * Starts a matching server: store, worker threads, services. Resolves once it is ready for calls; what may hold the
 * thread, opening the store, is over when it returns. Throws ServerError with what is to be done about the folder, the
 * address or the certificate.
 */
export async function startServer(config: ServerConfig, log: Logger): Promise<RunningServer> {
  // What gRPC would print of itself, in the middle of the log, comes as errors too.
  setLogVerbosity(logVerbosity.NONE);
  await tryStore(config.dataFolder, config.mapBytes);
  const backing = openBacking(config, log);
  try {
    const credentials = await credentialsOf(config);
    await backing.pool.ready();
    const server = await serverOver(backing, config);
    const port = await listen(server, config, credentials);
    backing.connections.listensOn(port);
    for (const service of SERVICES) backing.health.setStatus("healthy", service.fullName);
    let stopped: Promise<void> | undefined;
    return {
      address: config.address.replace(/:\d+$/, `:${port}`),
      stop: () => (stopped ??= stop(server, backing, config.graceSeconds)),
    };
  } catch (error) {
    await close(backing);
    throw error;
  }
}

/** What a server stands on, from its start until {@link close}. */
interface Backing {
  readonly store: GalleryStore;
  readonly pool: WorkerPool;
  readonly connections: Connections;
  readonly calls: OpenCalls;
  readonly health: ReturnType<typeof HealthState>;
  /** Ends what would not end by itself. */
  readonly stopping: AbortController;
  readonly log: Logger;
}

function openBacking(config: ServerConfig, log: Logger): Backing {
  return {
    store: LmdbStore.open({ ...storeOptions(config), log }),
    pool: new WorkerPool(config.workers),
    connections: new Connections(connectionLimits(config)),
    calls: new OpenCalls(config.maxCalls),
    health: HealthState(),
    stopping: new AbortController(),
    log,
  };
}

async function close({ connections, calls, pool, store }: Backing): Promise<void> {
  connections[Symbol.dispose]();
  calls[Symbol.dispose]();
  await pool.close();
  await store.close();
}

async function stop(server: Server, backing: Backing, graceSeconds: number): Promise<void> {
  backing.health.setStatus("unhealthy");
  backing.stopping.abort();
  await endCalls(server, backing.connections, graceSeconds);
  await close(backing);
}

/** The server with all of its services, not listening yet. */
async function serverOver(backing: Backing, config: ServerConfig): Promise<Server> {
  const { calls, health, log } = backing;
  const server = createServer(channelOptions(config, [callGuard(log, UNREAD_MS), calls.interceptor]))
    .use(errorDetailsServerMiddleware)
    .use(wall(log));
  addServices(server, backing);
  server.add(readableRequests(ServerServiceDefinition), serverService(await serverInfo(config)));
  server.add(readableRequests(HealthDefinition), HealthServiceImpl(health));
  const names = [...SERVICES, HealthDefinition].map((service) => service.fullName);
  if (config.reflection) await addReflection(server, names);
  return server;
}

function addServices(server: Server, { store, pool, stopping, log }: Backing): void {
  const packed = new PackedMatcher(pool);
  const matchers = { packed, scans: new SharedScans(packed), pairwise: new PairwiseMatcher(pool) };
  server.add(readableRequests(ContextServiceDefinition), contextService(store, matchers.pairwise));
  server.add(readableRequests(GalleryServiceDefinition), galleryService({ store, matchers }, stopping.signal));
  server.add(readableRequests(MatchingServiceDefinition), matchingService({ store, matchers, log }));
}

// Without these gRPC waits for ever for a peer that vanished without a word, and takes any number of streams.
function channelOptions(config: ServerConfig, interceptors: ServerInterceptor[]): ServerOptions {
  return {
    "grpc.keepalive_time_ms": config.keepaliveSeconds * 1000,
    "grpc.keepalive_timeout_ms": answerMs(config),
    "grpc.max_connection_idle_ms": config.maxIdleSeconds * 1000,
    "grpc.max_connection_age_ms": config.maxAgeSeconds * 1000,
    "grpc.max_connection_age_grace_ms": AGE_GRACE_MS,
    "grpc.max_concurrent_streams": MAX_STREAMS,
    interceptors,
  };
}

function connectionLimits(config: ServerConfig): ConnectionLimits {
  return { most: config.maxConnections, silenceMs: config.keepaliveSeconds * 1000 + 2 * answerMs(config) };
}

/** How long a living peer may take to answer a ping, which its other packets may be in front of: 5 to 20 s. */
function answerMs({ keepaliveSeconds }: ServerConfig): number {
  return Math.min(20, Math.max(5, keepaliveSeconds)) * 1000;
}

/** Lets calls end for so many seconds; what is left of them then ends with its connection, whatever its peer does. */
async function endCalls(server: Server, connections: Connections, graceSeconds: number): Promise<void> {
  const ended = server.shutdown();
  await withinMs(ended, graceSeconds * 1000);
  server.forceShutdown();
  connections[Symbol.dispose]();
  await withinMs(ended, HANDLERS_MS);
}

async function withinMs(ended: Promise<void>, milliseconds: number): Promise<void> {
  const over = new AbortController();
  await Promise.race([ended, sleep(milliseconds, undefined, { signal: over.signal }).catch(() => undefined)]);
  over.abort();
}

function storeOptions({ dataFolder, maxDataBytes, mapBytes }: ServerConfig): LmdbStoreOptions {
  return definedOnly({ path: dataFolder, maxBytes: maxDataBytes, mapSizeBytes: mapBytes });
}

async function credentialsOf({ tls }: ServerConfig): Promise<ServerCredentials> {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const [certificate, key] = await Promise.all([
    readPem("--tls-cert", tls.certificateFile),
    readPem("--tls-key", tls.keyFile),
  ]);
  try {
    createSecureContext({ cert: certificate, key });
  } catch (error) {
    const what = `${tls.certificateFile} and ${tls.keyFile} are no certificate and its key: ${inWords(error)}`;
    throw new ServerError("FIELD_INVALID", `${what}; give both in PEM form, the key without a passphrase`, {
      cause: error,
    });
  }
  return ServerCredentials.createSsl(null, [{ cert_chain: certificate, private_key: key }]);
}

async function readPem(flag: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new ServerError("FIELD_INVALID", `${flag} ${file} cannot be read: ${inWords(error)}`, { cause: error });
  }
}

async function listen(server: Server, { address }: ServerConfig, credentials: ServerCredentials): Promise<number> {
  try {
    return await server.listen(address, credentials);
  } catch (error) {
    const what = `cannot listen on ${address}: ${inWords(error)}`;
    throw new ServerError("FIELD_INVALID", `${what}; give another one with --address`, { cause: error });
  }
}
