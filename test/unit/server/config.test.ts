import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { readConfig, serverOptions } from "../../../server/config.ts";
import type { ServerConfig } from "../../../server/config.ts";

interface Outcome {
  /** Undefined where the process was ended. */
  readonly config: ServerConfig | undefined;
  readonly code: unknown;
  /** On both streams. */
  readonly said: string;
}

/** Reads the configuration in this process, which it may try to end. */
function read(env: Record<string, string>, ...args: string[]): Outcome {
  const before = { ...process.env };
  const said: string[] = [];
  const mocks = [
    mock.method(process, "exit", (code: unknown) => {
      throw new Ended(code);
    }),
    ...[process.stdout, process.stderr].map((stream) =>
      mock.method(stream, "write", (text: string) => said.push(text) > 0),
    ),
  ];
  for (const name of Object.keys(process.env))
    if (name.startsWith("VEILFACE_")) Reflect.deleteProperty(process.env, name);
  Object.assign(process.env, env);
  try {
    return { config: readConfig(args), code: 0, said: said.join("") };
  } catch (error) {
    if (error instanceof Ended) return { config: undefined, code: error.code, said: said.join("") };
    throw error;
  } finally {
    for (const mocked of mocks) mocked.mock.restore();
    process.env = before;
  }
}

class Ended extends Error {
  readonly code: unknown;

  constructor(code: unknown) {
    super("ended");
    this.code = code;
  }
}

function configOf(env: Record<string, string>, ...args: string[]): ServerConfig {
  const { config, said } = read(env, ...args);
  assert.ok(config !== undefined, said);
  return config;
}

interface Variable {
  /** Words for it, and what they make of the configuration. */
  readonly good: readonly (readonly [text: string, expected: Partial<ServerConfig>])[];
  /** What must be refused, each with what the refusal says; none where any text is a value. */
  readonly nonsense: readonly string[];
  readonly expected?: RegExp;
  /** What else must be set for it. */
  readonly beside?: Record<string, string>;
}

const TRUE = ["true", "1", "yes", "on", "TRUE", " Yes "];
const FALSE = ["false", "0", "no", "off", "False", " OFF "];
const WORDS = /expected true, 1, yes, on or false, 0, no, off/;

function boolean(field: "insecure" | "reflection"): Variable {
  const good = [
    ...TRUE.map((text) => [text, { [field]: true }] as const),
    ...FALSE.map((text) => [text, { [field]: false }] as const),
  ];
  return { good, nonsense: ["maybe", "2", "-1", "yes please"], expected: WORDS };
}

function whole(field: keyof ServerConfig, value: number, ...nonsense: string[]): Variable {
  return {
    good: [[String(value), { [field]: value }]],
    nonsense: ["many", "1.5", "-1", ...nonsense],
    expected: /expected a whole number in \[\d+, \d+\]/,
  };
}

const VARIABLES: Readonly<Record<string, Variable>> = {
  VEILFACE_ADDRESS: {
    good: [["127.0.0.1:1", { address: "127.0.0.1:1" }]],
    nonsense: ["nowhere", ":1", "127.0.0.1:70000"],
    expected: /host:port/,
  },
  VEILFACE_DATA: { good: [["/some/where", { dataFolder: "/some/where" }]], nonsense: [] },
  VEILFACE_WORKERS: whole("workers", 3, "0", "257"),
  VEILFACE_MAX_DATA_BYTES: whole("maxDataBytes", 2 ** 21, "1"),
  VEILFACE_MAP_BYTES: whole("mapBytes", 2 ** 21, "1"),
  VEILFACE_REFLECTION: boolean("reflection"),
  VEILFACE_LOG_LEVEL: {
    good: [["debug", { logLevel: "debug" }]],
    nonsense: ["loud"],
    expected: /trace, debug, info, warn, error, silent/,
  },
  VEILFACE_GRACE: whole("graceSeconds", 0, "3601"),
  VEILFACE_TLS_CERT: {
    good: [["/a", { tls: { certificateFile: "/a", keyFile: "/b" } }]],
    nonsense: [],
    beside: { VEILFACE_TLS_KEY: "/b" },
  },
  VEILFACE_TLS_KEY: {
    good: [["/b", { tls: { certificateFile: "/a", keyFile: "/b" } }]],
    nonsense: [],
    beside: { VEILFACE_TLS_CERT: "/a" },
  },
  VEILFACE_INSECURE: boolean("insecure"),
  VEILFACE_KEEPALIVE: whole("keepaliveSeconds", 7, "0"),
  VEILFACE_MAX_IDLE: whole("maxIdleSeconds", 8, "0"),
  VEILFACE_MAX_AGE: whole("maxAgeSeconds", 9, "0"),
  VEILFACE_MAX_CONNECTIONS: whole("maxConnections", 10, "0"),
  VEILFACE_MAX_CALLS: whole("maxCalls", 11, "0"),
};

test("every option of the server but the other half of --reflection has a variable of its own, and this test knows each", () => {
  const without = serverOptions()
    .filter(({ envVar }) => envVar === undefined)
    .map(({ long }) => long);
  assert.deepEqual(without, ["--no-reflection"]);
  assert.deepEqual(
    serverOptions()
      .flatMap(({ envVar }) => envVar ?? [])
      .sort(),
    Object.keys(VARIABLES).sort(),
  );
});

for (const [name, { good, nonsense, expected, beside = {} }] of Object.entries(VARIABLES)) {
  test(`${name} is read, is nothing where it is empty, and is named where it makes no sense`, () => {
    for (const [text, fields] of good) {
      const config = configOf({ ...beside, [name]: text });
      assert.deepEqual({ ...config, ...fields }, config, `${name}="${text}"`);
    }
    for (const empty of ["", "  "]) assert.deepEqual(configOf({ [name]: empty }), configOf({}));
    for (const text of nonsense) {
      const { code, said } = read({ ...beside, [name]: text });
      assert.equal(code, 1, `${name}="${text}" is accepted`);
      assert.ok(said.includes(name) && said.includes(text), said);
      assert.match(said, expected!);
    }
  });
}

test("plain text beyond loopback is refused unless the variable says yes", () => {
  for (const text of ["", ...FALSE]) {
    const { code, said } = read({ VEILFACE_ADDRESS: "0.0.0.0:1", VEILFACE_INSECURE: text });
    assert.equal(code, 1);
    assert.match(said, /not a loopback address/);
  }
  for (const text of TRUE)
    assert.equal(configOf({ VEILFACE_ADDRESS: "0.0.0.0:1", VEILFACE_INSECURE: text }).insecure, true);
});

test("a flag counts more than its variable", () => {
  assert.equal(configOf({ VEILFACE_REFLECTION: "yes" }, "--no-reflection").reflection, false);
  assert.equal(configOf({ VEILFACE_REFLECTION: "no" }, "--reflection").reflection, true);
  assert.equal(configOf({ VEILFACE_INSECURE: "yes" }, "--insecure=no").insecure, false);
  assert.equal(configOf({ VEILFACE_INSECURE: "no" }, "--insecure").insecure, true);
  assert.equal(configOf({ VEILFACE_WORKERS: "3" }, "--workers", "4").workers, 4);
});

test("a flag that is empty is refused, not taken for one that is not there", () => {
  for (const flag of ["--workers", "--grace", "--address"]) assert.equal(read({}, flag, "").code, 1, flag);
});

test("the help names every flag with its variable", () => {
  const { said } = read({}, "--help");
  for (const { long, envVar } of serverOptions())
    assert.ok(said.includes(long!) && said.includes(envVar ?? ""), `${long!} ${envVar ?? ""}`);
});
