import { availableParallelism } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";

/** How a server is started. */
export interface ServerConfig {
  /** Where it listens, as "host:port"; port 0 takes a free one. */
  readonly address: string;
  /** Folder of the store; made if it does not exist. */
  readonly dataFolder: string;
  /** Worker threads for compute, in [1, 256]; readConfig gives one per core unless told. */
  readonly workers: number;
  /** Whether clients may ask for the contract by reflection. */
  readonly reflection: boolean;
  /** The least level that is logged: trace, debug, info, warn, error or silent. */
  readonly logLevel: string;
  /** Seconds that calls under way may take to end once the server stops, in [0, 3600]. */
  readonly graceSeconds: number;
  /** Largest size of the data file in bytes, at least 2^20; undefined for no limit but the disk's. */
  readonly maxDataBytes: number | undefined;
  /**
   * Address space that the data file is mapped into at first, in bytes, in [2^20, 2^46]; it grows with the file.
   * Undefined for the store's own choice, 16 GiB.
   */
  readonly mapBytes: number | undefined;
  /** Where its certificate is; undefined for plain text. */
  readonly tls:
    | {
        /** Path of a PEM file: the server's certificate first, then those that vouch for it. */
        readonly certificateFile: string;
        /** Path of a PEM file: the private key of the certificate, without a passphrase. */
        readonly keyFile: string;
      }
    | undefined;
  /** Whether to listen in plain text on an address that is not loopback, where the network sees ids and ciphertexts. */
  readonly insecure: boolean;
  /**
   * Seconds after which a peer is asked whether it is still there, in [1, 3600]; the connection of one that does not
   * answer is cut.
   */
  readonly keepaliveSeconds: number;
  /** Seconds after which a connection without a call is closed, in [1, 1e6]. */
  readonly maxIdleSeconds: number;
  /**
   * Seconds after which a connection takes no more calls, give or take a tenth, in [1, 1e6]; clients then open another
   * one.
   */
  readonly maxAgeSeconds: number;
  /** Connections that may be open at once, in [1, 1e6]; one more is closed. */
  readonly maxConnections: number;
  /**
   * Calls that may be under way at once, over all connections, in [1, 1e6]; one more is refused with LIMIT_EXCEEDED.
   */
  readonly maxCalls: number;
}

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"];
const YES = ["true", "1", "yes", "on"];
const NO = ["false", "0", "no", "off"];

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
  keepalive: number;
  maxIdle: number;
  maxAge: number;
  maxConnections: number;
  maxCalls: number;
}

/**
 * Reads flags and environment variables; a flag counts more than its variable, and an empty variable is none. Prints
 * help and ends the process for --help, and with exit code 1 for what cannot be, naming the flag or the variable.
 */
export function readConfig(argv: readonly string[]): ServerConfig {
  const program = serverProgram();
  const flags = program.parse(argv, { from: "user" }).opts<Flags>();
  const tls = tlsOf(program, flags);
  if (tls === undefined && !flags.insecure && !isLoopback(flags.address)) {
    const instead = "give --tls-cert and --tls-key, or --insecure to serve plain text beyond this machine";
    program.error(`${flags.address} is not a loopback address: ${instead}`);
  }
  return configOf(flags, tls);
}

function serverProgram(): Command {
  const about = "Matching server: stores and compares encrypted face templates; it holds no key and sees no face.";
  const program = new Command("veilface-server").description(about);
  for (const option of serverOptions()) {
    if (option.envVar !== undefined && process.env[option.envVar]?.trim() === "")
      Reflect.deleteProperty(process.env, option.envVar);
    program.addOption(option);
  }
  return program;
}

function configOf(flags: Flags, tls: ServerConfig["tls"]): ServerConfig {
  const { address, workers, reflection, logLevel, insecure, maxDataBytes, mapBytes, maxConnections, maxCalls } = flags;
  return {
    address,
    dataFolder: flags.data,
    workers,
    reflection,
    logLevel,
    graceSeconds: flags.grace,
    maxDataBytes,
    mapBytes,
    tls,
    insecure,
    keepaliveSeconds: flags.keepalive,
    maxIdleSeconds: flags.maxIdle,
    maxAgeSeconds: flags.maxAge,
    maxConnections,
    maxCalls,
  };
}

/** Every option of the server, each with its environment variable. */
export function serverOptions(): Option[] {
  return [...placeOptions(), ...serviceOptions(), ...transportOptions(), ...connectionOptions()];
}

/** Where it listens and keeps its data, and what of the machine it takes. */
function placeOptions(): Option[] {
  return [
    option("--address <host:port>", "where to listen", "ADDRESS").default("127.0.0.1:50051").argParser(hostAndPort),
    option("--data <folder>", "where to keep the data", "DATA").default("./veilface-data"),
    option("--workers <n>", "worker threads for compute", "WORKERS")
      .default(availableParallelism(), "one per core")
      .argParser(whole(1, 256)),
    option("--max-data-bytes <n>", "largest size of the data file", "MAX_DATA_BYTES").argParser(
      whole(1 << 20, Number.MAX_SAFE_INTEGER),
    ),
    option(
      "--map-bytes <n>",
      "address space to map the data file into at first (default: 16 GiB); grows with the file",
      "MAP_BYTES",
    ).argParser(whole(1 << 20, 2 ** 46)),
  ];
}

function serviceOptions(): Option[] {
  return [
    option("--reflection [yes|no]", "serve the contract by reflection", "REFLECTION")
      .default(true)
      .preset("yes")
      .argParser(yesOrNo),
    new Option("--no-reflection", "do not serve the contract by reflection"),
    option("--log-level <level>", "log lines go to standard error as JSON", "LOG_LEVEL")
      .choices(LOG_LEVELS)
      .default("info"),
    option("--grace <seconds>", "how long calls under way may take to end at a stop", "GRACE")
      .default(10)
      .argParser(whole(0, 3600)),
  ];
}

function transportOptions(): Option[] {
  return [
    option("--tls-cert <file>", "certificate chain, PEM", "TLS_CERT"),
    option("--tls-key <file>", "private key of the certificate, PEM", "TLS_KEY"),
    option("--insecure [yes|no]", "allow plain text on an address that is not loopback", "INSECURE")
      .default(false)
      .preset("yes")
      .argParser(yesOrNo),
  ];
}

/** What its clients' connections may take, and for how long. */
function connectionOptions(): Option[] {
  return [
    option("--keepalive <seconds>", "ask a peer so often whether it is there; cut it off if not", "KEEPALIVE")
      .default(30)
      .argParser(whole(1, 3600)),
    option("--max-idle <seconds>", "close a connection without calls after", "MAX_IDLE")
      .default(300)
      .argParser(whole(1, 1_000_000)),
    option("--max-age <seconds>", "move a connection's new calls to another one after", "MAX_AGE")
      .default(7200)
      .argParser(whole(1, 1_000_000)),
    option("--max-connections <n>", "connections that may be open at once", "MAX_CONNECTIONS")
      .default(2000)
      .argParser(whole(1, 1_000_000)),
    option("--max-calls <n>", "calls that may be under way at once", "MAX_CALLS")
      .default(4000)
      .argParser(whole(1, 1_000_000)),
  ];
}

function option(flags: string, description: string, variable: string): Option {
  return new Option(flags, description).env(`VEILFACE_${variable}`);
}

function tlsOf(program: Command, { tlsCert, tlsKey }: Flags): ServerConfig["tls"] {
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    program.error("--tls-cert and --tls-key belong together: give both or neither");
  return tlsCert !== undefined && tlsKey !== undefined ? { certificateFile: tlsCert, keyFile: tlsKey } : undefined;
}

function yesOrNo(text: string): boolean {
  const word = text.trim().toLowerCase();
  if (YES.includes(word)) return true;
  if (NO.includes(word)) return false;
  throw new InvalidArgumentError(`expected ${YES.join(", ")} or ${NO.join(", ")}.`);
}

function whole(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && Number.isInteger(value) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`expected a whole number in [${least}, ${most}].`);
  };
}

function hostAndPort(text: string): string {
  const port = Number(/^\S+:(\d+)$/.exec(text)?.[1]);
  if (!(port >= 0 && port <= 65535)) throw new InvalidArgumentError("expected host:port, such as 127.0.0.1:50051.");
  return text;
}

function isLoopback(address: string): boolean {
  return /^(127(\.\d+){3}|localhost|\[::1\]):\d+$/.test(address);
}
