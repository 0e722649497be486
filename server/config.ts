import { availableParallelism } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";

/** How a server is started. */
export interface ServerConfig {
  /** host:port; port 0 takes a free one. */
  readonly address: string;
  /** Folder of the store; made if it does not exist. */
  readonly dataFolder: string;
  /** Worker threads for compute, >= 1. */
  readonly workers: number;
  /** Whether clients may ask for the contract by reflection. */
  readonly reflection: boolean;
  readonly logLevel: string;
  /** Seconds that calls under way may take to end once the server stops. */
  readonly graceSeconds: number;
  /** Largest size of the data file in bytes; undefined for no limit but the disk's. */
  readonly maxDataBytes: number | undefined;
  /** Address space that the data file is mapped into at first, in bytes; it grows with the file. Undefined for the store's own choice. */
  readonly mapBytes: number | undefined;
  /** PEM files; undefined for plain text. */
  readonly tls: { readonly certificateFile: string; readonly keyFile: string } | undefined;
  /** Listen in plain text on an address that is not loopback. */
  readonly insecure: boolean;
}

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"];

interface Flags {
  address: string;
  data: string;
  workers: number;
  reflection: boolean;
  logLevel: string;
  grace: number;
  maxDataBytes?: number;
  mapBytes?: number;
  tlsCert?: string;
  tlsKey?: string;
  insecure: boolean;
}

/** Reads flags and environment variables. Prints help and ends the process for --help and for flags that cannot be. */
export function readConfig(argv: readonly string[]): ServerConfig {
  const program = new Command("veilface-server").description("Matching server: stores and compares encrypted face templates; it holds no key and sees no face.");
  for (const option of options()) program.addOption(option);
  const flags = program.parse(argv, { from: "user" }).opts<Flags>();
  if ((flags.tlsCert === undefined) !== (flags.tlsKey === undefined)) program.error("--tls-cert and --tls-key belong together: give both or neither");
  const tls = flags.tlsCert !== undefined && flags.tlsKey !== undefined ? { certificateFile: flags.tlsCert, keyFile: flags.tlsKey } : undefined;
  if (tls === undefined && !flags.insecure && !isLoopback(flags.address)) {
    program.error(`${flags.address} is not a loopback address: give --tls-cert and --tls-key, or --insecure to serve plain text beyond this machine`);
  }
  const { address, workers, reflection, logLevel, insecure, maxDataBytes, mapBytes } = flags;
  return { address, dataFolder: flags.data, workers, reflection, logLevel, graceSeconds: flags.grace, maxDataBytes, mapBytes, tls, insecure };
}

function options(): Option[] {
  return [
    new Option("--address <host:port>", "where to listen").env("VEILFACE_ADDRESS").default("127.0.0.1:50051").argParser(hostAndPort),
    new Option("--data <folder>", "where to keep the data").env("VEILFACE_DATA").default("./veilface-data"),
    new Option("--workers <n>", "worker threads for compute").env("VEILFACE_WORKERS").default(availableParallelism(), "one per core").argParser(whole(1, 256)),
    new Option("--max-data-bytes <n>", "largest size of the data file").env("VEILFACE_MAX_DATA_BYTES").argParser(whole(1 << 20, Number.MAX_SAFE_INTEGER)),
    new Option("--map-bytes <n>", "address space to map the data file into at first (default: 16 GiB); grows with the file")
      .env("VEILFACE_MAP_BYTES").argParser(whole(1 << 20, 2 ** 46)),
    new Option("--no-reflection", "do not serve the contract by reflection").env("VEILFACE_REFLECTION"),
    new Option("--log-level <level>", "log lines go to standard error as JSON").env("VEILFACE_LOG_LEVEL").choices(LOG_LEVELS).default("info"),
    new Option("--grace <seconds>", "how long calls under way may take to end at a stop").env("VEILFACE_GRACE").default(10).argParser(whole(0, 3600)),
    new Option("--tls-cert <file>", "certificate chain, PEM").env("VEILFACE_TLS_CERT"),
    new Option("--tls-key <file>", "private key of the certificate, PEM").env("VEILFACE_TLS_KEY"),
    new Option("--insecure", "allow plain text on an address that is not loopback").env("VEILFACE_INSECURE").default(false),
  ];
}

function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least || value > most) throw new InvalidArgumentError(`expected a whole number in [${least}, ${most}].`);
    return value;
  };
}

function hostAndPort(text: string): string {
  const port = Number(/:(\d+)$/.exec(text)?.[1]);
  if (!(port >= 0 && port <= 65535)) throw new InvalidArgumentError("expected host:port, such as 127.0.0.1:50051.");
  return text;
}

function isLoopback(address: string): boolean {
  return /^(127(\.\d+){3}|localhost|\[::1\]):\d+$/.test(address);
}
