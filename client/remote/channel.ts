import { ChannelCredentials, createChannel, createClientFactory } from "nice-grpc";
import type { CallOptions, Channel, ChannelOptions, Client, ClientMiddlewareCall } from "nice-grpc";
import { errorDetailsClientMiddleware } from "nice-grpc-error-details";
import {
  ContextServiceDefinition,
  GalleryServiceDefinition,
  MatchingServiceDefinition,
  ServerServiceDefinition,
} from "@veilface/proto";
import { ClientError } from "../errors.ts";
import { isLoopback, proxyFor } from "./proxy.ts";
import type { Proxy } from "./proxy.ts";
import { systemCertificates } from "./system-certificates.ts";

/** PEM files' contents. Without root certificates the system's are trusted; the pair is for mutual TLS. */
export interface TlsOptions {
  /** What the server's certificate is checked by, in place of the system's. */
  readonly rootCertificates?: Buffer;
  /** The client's own; goes with `certificateChain`. */
  readonly privateKey?: Buffer;
  /** The client's own, its certificate first. */
  readonly certificateChain?: Buffer;
}

/** How to reach a matching server. */
export interface ServerOptions {
  /** "host:port", such as "127.0.0.1:50051" or "[::1]:50051". */
  readonly address: string;
  /** TLS. Needed for every server but one on this machine, unless `insecure` is set. */
  readonly tls?: true | TlsOptions;
  /**
   * Speak plain text to a server on another machine: the network then sees ids and ciphertexts, and may change them.
   */
  readonly insecure?: boolean;
}

/** A connection and the three services on it. */
export interface Services {
  /** What messages call the server: its address, and the proxy on the way to it. */
  readonly address: string;
  readonly contexts: Client<typeof ContextServiceDefinition>;
  readonly galleries: Client<typeof GalleryServiceDefinition>;
  readonly matching: Client<typeof MatchingServiceDefinition>;
  readonly server: Client<typeof ServerServiceDefinition>;
  /** Throws ClientError USAGE once the connection was closed, as every call then does. */
  readonly checkOpen: () => void;
  /** Ends the connection; again, it does nothing. */
  readonly close: () => void;
}

// gRPC's own pauses grow to two minutes, and while one lasts every call is refused, however long the server has been
// back: 1 s keeps that below 2 s. A peer that vanished without a word is noticed within 30 s of silence under a call.
// grpc-js retries nothing above 1 MiB and keeps a copy of all it might: what is tried again is tried again by
// calls.ts.
const CHANNEL_OPTIONS: ChannelOptions = {
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
  "grpc.keepalive_time_ms": 20_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.enable_retries": 0,
};

/**
 * Opens a channel; connects at the first call. Throws ClientError USAGE for a malformed address, plain text to another
 * machine without `insecure`, and plain text through a proxy that the environment names.
 */
export function openServices(options: ServerOptions): Services {
  const host = hostOf(options.address);
  const proxy = proxyFor(host);
  const channel = openChannel(options, host, proxy);
  const connection = new Connection(channel);
  const factory = createClientFactory().use(errorDetailsClientMiddleware).use(connection.middleware.bind(connection));
  return {
    address: options.address + (proxy ? ` through the proxy ${proxy.address}, which ${proxy.variable} names` : ""),
    contexts: factory.create(ContextServiceDefinition, channel),
    galleries: factory.create(GalleryServiceDefinition, channel),
    matching: factory.create(MatchingServiceDefinition, channel),
    server: factory.create(ServerServiceDefinition, channel),
    checkOpen: () => {
      connection.check();
    },
    close: () => {
      connection.close();
    },
  };
}

/** A channel, and whether it was closed: a call that fails since then fails because of it. */
class Connection {
  readonly #channel: Channel;
  #closed = false;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Refuses calls once it is closed, and says of those that it ended what ended them. */
  async *middleware<Request, Response>(call: ClientMiddlewareCall<Request, Response>, options: CallOptions) {
    this.check();
    try {
      return yield* call.next(call.request, options);
    } catch (error) {
      this.check(error);
      throw error;
    }
  }

  check(cause?: unknown): void {
    if (this.#closed) throw new ClientError("USAGE", "the client is closed: open another one", { cause });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#channel.close();
  }
}

function openChannel({ address, tls, insecure }: ServerOptions, host: string, proxy: Proxy | undefined): Channel {
  const options = { ...CHANNEL_OPTIONS, "grpc.enable_http_proxy": proxy === undefined ? 0 : 1 };
  if (tls !== undefined) return createChannel(address, tlsCredentials(tls === true ? {} : tls), options);
  if (insecure !== true && !isLoopback(host)) {
    throw new ClientError(
      "USAGE",
      `${address} is on another machine: use TLS, or spell out insecure to send ids and ciphertexts in plain text`,
    );
  }
  if (proxy !== undefined) throw plainTextThroughProxy(address, host, proxy);
  return createChannel(address, ChannelCredentials.createInsecure(), options);
}

function plainTextThroughProxy(address: string, host: string, { variable, address: proxy }: Proxy): ClientError {
  const what = `${variable} names the proxy ${proxy}, which would read what is sent to ${address} in plain text`;
  return new ClientError("USAGE", `${what}: use TLS, or add ${host} to no_grpc_proxy to go past it`);
}

function tlsCredentials({ rootCertificates, privateKey, certificateChain }: TlsOptions): ChannelCredentials {
  return ChannelCredentials.createSsl(rootCertificates ?? systemCertificates(), privateKey, certificateChain);
}

function hostOf(address: string): string {
  const { bracketed, name, port } =
    /^(?:\[(?<bracketed>[0-9a-fA-F:.]+)\]|(?<name>[A-Za-z0-9.-]+)):(?<port>\d{1,5})$/.exec(address)?.groups ?? {};
  const host = bracketed ?? name;
  if (host === undefined || !(Number(port) >= 1 && Number(port) <= 65_535)) {
    throw new ClientError("USAGE", `"${address}" is not a server address: expected host:port, such as 127.0.0.1:50051`);
  }
  return host;
}
