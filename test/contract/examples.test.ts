// The examples, run as a user runs them, against a real server.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { plainDistance, randomEmbedding, similarEmbedding } from "../support/independent/independent-encoding.ts";
import { listContextIds } from "../support/independent/pairwise-context.ts";
import { realTensealBytes, tensealBytesMadeHere } from "../support/independent/tenseal-bytes.ts";
import type { TensealBytes } from "../support/independent/tenseal-bytes.ts";
import { stepsUpTo } from "../support/independent/tenseal-maker.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const PYTHON_FOLDER = join(ROOT, "examples", "python");
const PAIRWISE_SCRIPT = join(PYTHON_FOLDER, "tenseal_compare.py");
const PACKED_SCRIPT = join(PYTHON_FOLDER, "packed_match.py");
const SHELL_SCRIPT = join(ROOT, "examples", "shell", "tenseal-compare.sh");
// Measured: 3e-6 at a distance of about 31, most of it from the encryption itself.
const TOLERANCE = 1e-5;
// TenSEAL itself is in no distribution's packages, so that a module with the names that are used of it stands in.
const STAND_IN_FOR_TENSEAL = `
class Vector:
    def __init__(self, data): self.data = data
    def link_context(self, context): self.context = context
    def decrypt(self): return [int.from_bytes(self.data[:4], "big") + len(self.context) / 2**20]
def lazy_ckks_vector_from(data): return Vector(data)
def context_from(data): return data
`;

const python = findPython();
const needsPython = { skip: python === undefined && "no Python with grpcio and grpc_tools" };
const { server, client } = await startContractServer();
const folder = await mkdtemp(join(tmpdir(), "veilface-examples-"));
after(() => rm(folder, { recursive: true, force: true }));

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Files of one TenSEAL key, as an example takes them. */
interface TensealFiles {
  readonly context: string;
  readonly v1: string;
  readonly v2: string;
}

/** One way to compare two TenSEAL vectors; `checked: false` takes out the example's own look at the context. */
interface Example {
  readonly name: string;
  readonly options: { readonly skip?: string | false };
  readonly compare: (
    address: string,
    files: TensealFiles,
    output: string,
    how?: { readonly checked: boolean },
  ) => Promise<Run>;
}

const EXAMPLES: readonly Example[] = [
  { name: "the Python example", options: needsPython, compare: compareInPython },
  { name: "the shell example", options: {}, compare: compareInShell },
];

const made = await tensealBytesMadeHere();
// Only the Galois keys that 128 components need: a third of the upload.
await testTheRoad(
  "bytes made here",
  { ...made, publicContext: made.maker.publicContext(made.maker.makeKeys(stepsUpTo(64))) },
  ["raw", "base64"],
);
const real = await realTensealBytes("the examples are tested with TenSEAL bytes made here only");
if (real !== undefined) await testTheRoad("bytes of a real TenSEAL", real, ["base64", "raw"]);
await testWhatElseIsSaid(made);

/** `forms`: how the files are given to each example. */
async function testTheRoad(whose: string, bytes: TensealBytes, forms: readonly ("raw" | "base64")[]): Promise<void> {
  const own = await mkdtemp(join(folder, "road-"));
  const given = { raw: await writeFiles(own, bytes, "bin"), base64: await writeFiles(own, bytes, "txt") };

  EXAMPLES.forEach(({ name, options, compare }, which) => {
    const form = forms[which]!;
    const { secret, ...files } = given[form];

    test(`${whose}, ${form}: the reply that ${name} saves decrypts to the exact distance`, options, async () => {
      const output = join(own, `reply-${which}.bin`);
      const { code, stdout, stderr } = await compare(server.address, files, output);
      assert.equal(code, 0, stderr);
      const found = bytes.maker.decrypt("CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR", await readFile(output));
      assert.ok(Math.abs(found - bytes.squaredDistance) < TOLERANCE, `off by ${found - bytes.squaredDistance}`);
      assert.ok((await listContextIds(client)).includes(contextIdIn(stdout)));
    });

    test(`${whose}, ${form}: ${name} refuses a secret key in any place before a byte is sent`, options, async () => {
      await using port = await listenOnly();
      for (const place of ["context", "v1", "v2"]) {
        const { code, stderr } = await compare(port.address, { ...files, [place]: secret }, join(own, "none.bin"));
        assert.equal(code, 1, stderr);
        assert.match(
          stderr,
          place === "context"
            ? /secret\.\w+ holds the secret key, and nothing of it was sent/
            : /secret\.\w+ is not a TenSEAL CKKS vector/,
        );
      }
      assert.equal(port.connections(), 0);
    });

    test(
      `${whose}, ${form}: a secret key that gets past ${name} is refused by the server, which ${name} says`,
      options,
      async () => {
        const before = await listContextIds(client);
        const { code, stderr } = await compare(server.address, { ...files, context: secret }, join(own, "none.bin"), {
          checked: false,
        });
        assert.equal(code, 1);
        assert.match(stderr, /SECRET_KEY_REFUSED/);
        assert.deepEqual(await listContextIds(client), before);
      },
    );
  });
}

async function testWhatElseIsSaid(bytes: TensealBytes): Promise<void> {
  const own = await mkdtemp(join(folder, "else-"));
  const context = bytes.maker.publicContext(bytes.maker.makeKeys(stepsUpTo(64)));
  const { secret, ...files } = await writeFiles(own, { ...bytes, publicContext: context }, "bin");
  const output = join(own, "d.bin");

  for (const { name, options, compare } of EXAMPLES) {
    test(`${name} says why the server refused a damaged vector`, options, async () => {
      const damaged = Buffer.from(bytes.v2);
      const middle = damaged.length >> 1;
      damaged.fill(0, middle, middle + 1000);
      const v2 = join(own, "damaged.bin");
      await writeFile(v2, damaged);
      const { code, stderr } = await compare(server.address, { ...files, v2 }, output);
      assert.equal(code, 1);
      assert.match(stderr, /CIPHERTEXT_MALFORMED/);
    });

    test(`${name} says that no server answers`, options, async () => {
      const port = await listenOnly();
      await port[Symbol.asyncDispose]();
      const { code, stderr } = await compare(port.address, files, output);
      assert.equal(code, 1);
      assert.match(stderr, /connection refused|no veilface server/);
    });

    test(`${name} says that files are not what it expects`, options, async () => {
      const [text, nothing] = [join(own, "text.txt"), join(own, "nothing.bin")];
      await writeFile(text, "not a context!");
      await using port = await listenOnly();
      assert.match(
        (await compare(port.address, { ...files, context: text }, output)).stderr,
        /text\.txt is not a TenSEAL context/,
      );
      assert.match(
        (await compare(port.address, { ...files, context: files.v1 }, output)).stderr,
        /v1\.bin is not a TenSEAL context/,
      );
      assert.match((await compare(port.address, { ...files, context: nothing }, output)).stderr, /nothing\.bin/);
      assert.equal(port.connections(), 0);
    });
  }

  test(
    "the Python example deletes the context where it is asked to, and says how to decrypt",
    needsPython,
    async () => {
      const { code, stdout } = await run(python!, [
        PAIRWISE_SCRIPT,
        ...argumentsOf(server.address, files, output),
        "--delete",
        "--norm-bound",
        "20",
      ]);
      assert.equal(code, 0);
      assert.ok(!(await listContextIds(client)).includes(contextIdIn(stdout)));
      assert.match(stdout, /lazy_ckks_vector_from/);
      assert.ok(
        Math.abs(
          bytes.maker.decrypt("CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR", await readFile(output)) -
            bytes.squaredDistance,
        ) < TOLERANCE,
      );
    },
  );

  test("the Python example lets the package tenseal decrypt, where it is installed", needsPython, async () => {
    const modules = await mkdtemp(join(own, "modules-"));
    await writeFile(join(modules, "tenseal.py"), STAND_IN_FOR_TENSEAL);
    const args = [PAIRWISE_SCRIPT, ...argumentsOf(server.address, files, output), "--secret", secret];
    const { code, stdout, stderr } = await run(python!, args, { PYTHONPATH: modules });
    assert.equal(code, 0, stderr);
    const value = (await readFile(output)).readUInt32BE() + bytes.secretContext.length / 2 ** 20;
    assert.ok(stdout.includes(`squared distance ${value.toFixed(7)}, distance ${Math.sqrt(value).toFixed(7)}`), stdout);
  });
}

test(
  "the packed example finds the plain distances under encryption, and leaves nothing behind",
  needsPython,
  async () => {
    const before = await listContextIds(client);
    const people = Object.fromEntries(
      ["ada", "grace", "edsger", "barbara"].map((name) => [name, twice(randomEmbedding(128, 1.4))]),
    );
    const file = join(folder, "people.json");
    await writeFile(file, JSON.stringify(people));
    const { code, stdout, stderr } = await run(python!, [
      PACKED_SCRIPT,
      "--server",
      server.address,
      "--embeddings",
      file,
    ]);
    assert.equal(code, 0, stderr);
    const shown = [...stdout.matchAll(/^ {2}(\S+) +(\d\.\d{7}) +\d\.\d{7} +\S+$/gm)].map(
      ([, name, distance]) => [name!, Number(distance)] as const,
    );
    assert.equal(shown.length, 5);
    const space = { dimension: 128, metric: "METRIC_COSINE", model_id: "any", norm_bound: 1 } as const;
    shown.forEach(([name, distance], line) => {
      const probe = people[line === 0 ? "ada" : "grace"]![1]!;
      assert.ok(Math.abs(distance - plainDistance(space, people[name]![0]!, probe)) < 1e-6, `${name}: ${distance}`);
    });
    assert.deepEqual([shown[0]![0], shown[1]![0]], ["ada", "grace"]);
    assert.deepEqual(await listContextIds(client), before);
  },
);

test("the packed example fails if a distance is off by more than its tolerance", needsPython, async () => {
  const { code, stderr } = await runChanged("packed_match", "example.TOLERANCE = 0", ["--server", server.address]);
  assert.equal(code, 1);
  assert.match(stderr, /differs from the plain one by \d\.\de-0\d: expected at most 0e\+00/);
});

test("the packed example computes the transforms and bytes of the published checks", needsPython, async () => {
  const code =
    "import sys, json; sys.path.insert(0, sys.argv[1]); import packed_scheme as p; x = [1, 2, 3, -4] + [0] * 4091 + [5]\n" +
    "print(json.dumps({'values': [r.forward(x)[:4] for r in p.RINGS], 'bytes': p.pack([x[:3] + [4] + [0] * 4092])[:15].hex()}))";
  const { stdout } = await run(python!, ["-c", code, PYTHON_FOLDER]);
  // From docs/wire-format.md, whose numbers are held to the code by a test of their own.
  const values = [
    [230515340, 837024152, 887689407, 192107299],
    [120144925, 791945940, 343886021, 891408464],
  ];
  assert.deepEqual(JSON.parse(stdout), { values, bytes: "010000800000003000000010000000" });
});

testThatTheLogTellsNothing(server);

/** The first Python that has what the examples need; said loudly on stderr if there is none. */
function findPython(): string | undefined {
  const candidates =
    process.env["VEILFACE_PYTHON"] === undefined ? ["/usr/bin/python3", "python3"] : [process.env["VEILFACE_PYTHON"]];
  for (const candidate of candidates) {
    try {
      execFileSync(candidate, ["-c", "import grpc, grpc_tools.protoc"], { stdio: "ignore" });
      return candidate;
    } catch {
      // The next one may have it.
    }
  }
  process.stderr.write(
    `\nSKIPPED: the Python examples are not tested: none of ${candidates.join(", ")} has grpcio and grpc_tools.` +
      " Install them (apt install python3-grpcio python3-grpc-tools), or name a Python that has them in VEILFACE_PYTHON.\n\n",
  );
  return undefined;
}

/** `extension`: "bin" for raw bytes, "txt" for base64. */
async function writeFiles(
  where: string,
  bytes: TensealBytes,
  extension: "bin" | "txt",
): Promise<TensealFiles & { readonly secret: string }> {
  const place = (name: string): string => join(where, `${name}.${extension}`);
  const contents = { public: bytes.publicContext, secret: bytes.secretContext, v1: bytes.v1, v2: bytes.v2 };
  for (const [name, data] of Object.entries(contents)) {
    // As base64 of coreutils has it, in lines.
    await writeFile(place(name), extension === "bin" ? data : data.toString("base64").replaceAll(/.{76}/g, "$&\n"));
  }
  return { context: place("public"), secret: place("secret"), v1: place("v1"), v2: place("v2") };
}

function contextIdIn(stdout: string): string {
  return /^context ([0-9a-f]{64})/m.exec(stdout)?.[1] ?? assert.fail(stdout);
}

function argumentsOf(address: string, { context, v1, v2 }: TensealFiles, output: string): string[] {
  return [context, v1, v2, "--output", output, "--server", address];
}

function compareInPython(
  address: string,
  files: TensealFiles,
  output: string,
  { checked } = { checked: true },
): Promise<Run> {
  const args = argumentsOf(address, files, output);
  return checked
    ? run(python!, [PAIRWISE_SCRIPT, ...args])
    : runChanged("tenseal_compare", "example.read_public_context = example.read_tenseal_file", args);
}

async function compareInShell(
  address: string,
  { context, v1, v2 }: TensealFiles,
  output: string,
  { checked } = { checked: true },
): Promise<Run> {
  const args = [`http://${address}`, context, v1, v2, output];
  if (checked) return run("bash", [SHELL_SCRIPT, ...args]);
  const source = await readFile(SHELL_SCRIPT, "utf8");
  const unchecked = source.replace('\ncheck_context "$work/context" "$2"\n', "\n");
  assert.notEqual(unchecked, source);
  await writeFile(join(folder, "unchecked.sh"), unchecked);
  return run("bash", [join(folder, "unchecked.sh"), ...args], { BUF: join(ROOT, "node_modules", ".bin", "buf") });
}

/** Runs a Python example after one statement that changes it. */
function runChanged(module: string, change: string, args: readonly string[]): Promise<Run> {
  const code = `import sys; sys.path.insert(0, ${JSON.stringify(PYTHON_FOLDER)}); import ${module} as example; ${change}; example.run(example.main)`;
  return run(python!, ["-c", code, ...args]);
}

async function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> {
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1", ...env },
  });
  const printed = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (printed.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (printed.stderr += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject).on("close", (code) => {
      resolve({ code, ...printed });
    });
  });
}

/** A port on which nothing is served, and how often somebody connected to it. */
async function listenOnly(): Promise<AsyncDisposable & { readonly address: string; connections(): number }> {
  let connections = 0;
  const listener = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port } = listener.address() as AddressInfo;
  const close = (): Promise<void> =>
    new Promise((resolve) =>
      listener.close(() => {
        resolve();
      }),
    );
  return { address: `127.0.0.1:${port}`, connections: () => connections, [Symbol.asyncDispose]: close };
}

/** Two looks at the same face. */
function twice(embedding: number[]): number[][] {
  return [embedding, similarEmbedding(embedding)];
}
