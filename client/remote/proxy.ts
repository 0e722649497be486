import { BlockList, isIPv4 } from "node:net";

/** A proxy that the environment asks gRPC to go through. */
export interface Proxy {
  /** The environment variable that names it. */
  readonly variable: string;
  /** host:port, without the credentials that may stand before it. */
  readonly address: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const PROXY_VARIABLES = ["grpc_proxy", "https_proxy", "http_proxy"] as const;

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8);
LOOPBACK.addAddress("::1", "ipv6");
// "Any address" as a destination is this machine, and behind a proxy it would be the proxy's.
LOOPBACK.addAddress("0.0.0.0");
LOOPBACK.addAddress("::", "ipv6");

/** Whether connections to a host cannot leave this machine: localhost and its addresses, in any spelling. */
export function isLoopback(host: string): boolean {
  const name = canonical(host);
  if (name === "localhost") return true;
  return isIPv4(name) ? LOOPBACK.check(name) : name.includes(":") && LOOPBACK.check(name, "ipv6");
}

/**
 * Whether a host is meant to be this machine: also the names under .localhost (RFC 6761), which a DNS server may still
 * give away.
 */
export function isMeantLocally(host: string): boolean {
  return isLoopback(host) || canonical(host).endsWith(".localhost");
}

/**
 * The proxy that grpc-js goes through to a host, by its own rules: the first of grpc_proxy, https_proxy and http_proxy
 * that is set, where it is a http:// URL, unless no_grpc_proxy (or else no_proxy) lists the host, a domain it ends
 * with, or its network. Undefined for this machine, which no proxy should hear of.
 */
export function proxyFor(host: string, environment: Environment = process.env): Proxy | undefined {
  const variable = PROXY_VARIABLES.find((name) => isSet(environment[name]));
  const value = variable && environment[variable];
  if (variable === undefined || value === undefined || !URL.canParse(value) || isMeantLocally(host)) return undefined;
  const { protocol, hostname, port } = new URL(value);
  if (protocol !== "http:" || isExempt(host, environment)) return undefined;
  return { variable, address: `${hostname}:${port === "" ? "80" : port}` };
}

function isExempt(host: string, { no_grpc_proxy: own, no_proxy: common }: Environment): boolean {
  const list = isSet(own) ? own : (common ?? "");
  return (
    list !== "" &&
    list
      .split(",")
      .map((entry) => entry.trim())
      .some((entry) => entry === "*" || host.endsWith(entry) || isInNetwork(host, entry))
  );
}

function isInNetwork(host: string, entry: string): boolean {
  const [network = "", bits = "", ...others] = entry.split("/");
  if (!isIPv4(host) || !isIPv4(network) || !/^\d{1,2}$/.test(bits) || Number(bits) > 32 || others.length > 0)
    return false;
  const list = new BlockList();
  list.addSubnet(network, Number(bits));
  return list.check(host);
}

function isSet(value: string | undefined): value is string {
  return value !== undefined && value !== "";
}

/**
 * As a resolver reads it: in lower case, 127.1 and 0x7f.0.0.1 as 127.0.0.1, IPv6 in its shortest form, without a final
 * dot.
 */
function canonical(host: string): string {
  const url = `http://${host.includes(":") ? `[${host}]` : host}/`;
  const name = URL.canParse(url) ? new URL(url).hostname : host.toLowerCase();
  return name.replace(/^\[|\]$/g, "").replace(/\.$/, "");
}
