import { ChannelCredentials, createChannel, createClientFactory } from "nice-grpc";
import type { Channel, Client } from "nice-grpc";
import { errorDetailsClientMiddleware } from "nice-grpc-error-details";
import { ContextServiceDefinition, GalleryServiceDefinition, MatchingServiceDefinition } from "@veilface/proto";
import { ClientError } from "./errors.ts";

/** PEM files' contents. Without root certificates the system's are trusted; the pair is for mutual TLS. */
export interface TlsOptions {
  readonly rootCertificates?: Buffer;
  readonly privateKey?: Buffer;
  readonly certificateChain?: Buffer;
}

/** How to reach a matching server. */
export interface ServerOptions {
  /** "host:port", such as "127.0.0.1:50051" or "[::1]:50051". */
  readonly address: string;
  /** TLS. Needed for every server but one on this machine, unless `insecure` is set. */
  readonly tls?: true | TlsOptions;
  /** Speak plain text to a server on another machine: the network then sees ids and ciphertexts, and may change them. */
  readonly insecure?: boolean;
}

/** A connection and the three services on it. */
export interface Services {
  readonly address: string;
  readonly contexts: Client<typeof ContextServiceDefinition>;
  readonly galleries: Client<typeof GalleryServiceDefinition>;
  readonly matching: Client<typeof MatchingServiceDefinition>;
  readonly close: () => void;
}

/** Opens a channel; connects at the first call. Throws ClientError USAGE for a malformed address, or plain text to another machine. */
export function openServices(options: ServerOptions): Services {
  const channel = openChannel(options);
  const factory = createClientFactory().use(errorDetailsClientMiddleware);
  return {
    address: options.address,
    contexts: factory.create(ContextServiceDefinition, channel),
    galleries: factory.create(GalleryServiceDefinition, channel),
    matching: factory.create(MatchingServiceDefinition, channel),
    close: () => {
      channel.close();
    },
  };
}

function openChannel({ address, tls, insecure }: ServerOptions): Channel {
  const host = hostOf(address);
  if (tls !== undefined) return createChannel(address, tlsCredentials(tls === true ? {} : tls));
  if (insecure !== true && !isLoopback(host)) {
    throw new ClientError("USAGE", `${address} is on another machine: use TLS, or spell out insecure to send ids and ciphertexts in plain text`);
  }
  return createChannel(address, ChannelCredentials.createInsecure());
}

function tlsCredentials({ rootCertificates, privateKey, certificateChain }: TlsOptions): ChannelCredentials {
  return ChannelCredentials.createSsl(rootCertificates, privateKey, certificateChain);
}

function hostOf(address: string): string {
  const { bracketed, name, port } = /^(?:\[(?<bracketed>[0-9a-fA-F:.]+)\]|(?<name>[A-Za-z0-9.-]+)):(?<port>\d{1,5})$/.exec(address)?.groups ?? {};
  const host = bracketed ?? name;
  if (host === undefined || !(Number(port) >= 1 && Number(port) <= 65_535)) {
    throw new ClientError("USAGE", `"${address}" is not a server address: expected host:port, such as 127.0.0.1:50051`);
  }
  return host;
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}
