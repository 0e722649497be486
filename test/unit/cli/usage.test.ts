import assert from "node:assert/strict";
import { once } from "node:events";
import { chmod, mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { runCli, temporaryFolder } from "../../support/process/cli-process.ts";
import type { CliRun } from "../../support/process/cli-process.ts";

const COMMANDS = [
  ["keygen"],
  ["gallery"],
  ["gallery", "create"],
  ["gallery", "list"],
  ["gallery", "delete"],
  ["gallery", "pack"],
  ["key"],
  ["key", "rotate"],
  ["enroll"],
  ["verify"],
  ["identify"],
  ["list"],
  ["delete"],
  ["compare"],
  ["tenseal"],
  ["tenseal", "upload"],
  ["tenseal", "compare"],
  ["tenseal", "delete"],
];

const { folder, remove } = await temporaryFolder();
const key = join(folder, "a.key");
const env = { VEILFACE_KEY: key, VEILFACE_PASSPHRASE: "a passphrase" };
after(remove);

function assertError({ code, stdout, stderr }: CliRun, says: RegExp): void {
  assert.equal(stdout, "");
  assert.match(stderr, /^veilface: [^\n]+\n$/, "one line on standard error");
  assert.match(stderr, says);
  assert.equal(code, 2);
}

function assertJsonError({ code, stdout, stderr }: CliRun, reason: string): void {
  assert.equal(stderr, "");
  const { error } = JSON.parse(stdout) as { error: { reason: string; message: string } };
  assert.equal(error.reason, reason);
  assert.match(error.message, /^[^\n]+$/);
  assert.equal(code, 2);
}

before(async () => {
  const made = await runCli(["keygen", "--json", "--parameter-set", "PACKED_N4096_Q30"], { env });
  assert.equal(made.code, 0, made.stderr);
  const { keyFile, parameterSet, contextId } = JSON.parse(made.stdout) as Record<string, string>;
  assert.deepEqual([keyFile, parameterSet], [key, "PACKED_N4096_Q30"]);
  assert.match(contextId!, /^[0-9a-f]{64}$/);
});

test("every command explains itself with examples on --help, and so does the program", async () => {
  const runs = await Promise.all(
    [[], ...COMMANDS].map(async (command) => ({ command, run: await runCli([...command, "--help"]) })),
  );
  for (const { command, run } of runs) {
    assert.deepEqual([run.code, run.stderr], [0, ""], command.join(" "));
    assert.match(run.stdout, new RegExp(`^Usage: veilface ${command.join(" ")}`.trim()));
    if (!["gallery", "key", "tenseal"].includes(command.join()))
      assert.match(run.stdout, /(Examples?|A first run[^\n]*):\n {2}veilface /);
  }
});

test("a new key file is its owner's alone and keygen keeps it unless forced", async () => {
  assert.equal((await stat(key)).mode & 0o777, 0o600);
  const before = await readFile(key);
  assertError(await runCli(["keygen"], { env }), /already/);
  assertJsonError(await runCli(["keygen", "--json"], { env }), "KEY_FILE_EXISTS");
  assert.deepEqual(await readFile(key), before);
  const forced = join(folder, "forced.key");
  await writeFile(forced, "not a key");
  assert.equal((await runCli(["keygen", "--key", forced, "--force"], { env })).code, 0);
  assert.notEqual((await readFile(forced)).toString(), "not a key");
});

test("wrong usage is one line and exit code 2, in JSON where asked for", async () => {
  const wrong = [
    [],
    ["no-such-command"],
    ["verify", "g"],
    ["keygen", "--parameter-set", "WEAK"],
    ["identify", "g", "a.jpg", "--max-candidates", "0"],
    ["verify", "g", "s", "a.jpg", "--threshold", "x"],
    ["keygen", "--no-such-flag"],
  ];
  for (const run of await Promise.all(wrong.map((args) => runCli(args, { env })))) assertError(run, /--help/);
  assertJsonError(await runCli(["verify", "g", "--json"], { env }), "USAGE");
  assertError(await runCli(["enroll", "g"], { env }), /nothing to enroll/);
  assertError(await runCli(["enroll", "g", "s", "a.jpg", "--dir", "people"], { env }), /either/);
  assertError(await runCli(["enroll", "g", "s", "--embeddings", "x.npy"], { env }), /give it alone/);
  assertError(await runCli(["gallery", "create", "g", "--packed-stride", "0"], { env }), /whole number/);
  assertError(await runCli(["key", "rotate"], { env }), /--new-key/);
  assertError(await runCli(["enroll", "g", "Not An Id", "a.jpg"], { env }), /a-z, 0-9/);
  assertError(await runCli(["delete", "g"], { env }), /--subject or --template/);
});

test("a key that is not there, damaged, open to others or under another passphrase is told apart", async () => {
  const list = (more: Record<string, string | undefined>, ...args: string[]): Promise<CliRun> =>
    runCli(["gallery", "list", "--json", ...args], { env: { ...env, ...more } });
  assertJsonError(await list({ VEILFACE_KEY: join(folder, "none.key") }), "KEY_FILE_MISSING");
  assertJsonError(await list({ VEILFACE_PASSPHRASE: "another one" }), "WRONG_PASSPHRASE");
  assertJsonError(await list({ VEILFACE_PASSPHRASE: undefined }), "PASSPHRASE_MISSING");
  assertJsonError(await list({ VEILFACE_PASSPHRASE: "" }), "PASSPHRASE_MISSING");
  const copy = join(folder, "copy.key");
  await writeFile(copy, (await readFile(key)).subarray(0, 1000), { mode: 0o600 });
  assertJsonError(await list({}, "--key", copy), "KEY_FILE_INVALID");
  await chmod(copy, 0o644);
  assertJsonError(await list({}, "--key", copy), "KEY_FILE_EXPOSED");
});

test("the passphrase may come from the first line of a file, which goes before the environment", async () => {
  const file = join(folder, "passphrase");
  await writeFile(file, "a passphrase\r\nand more\n");
  // An unreachable server is met only once the key is open.
  const args = ["gallery", "list", "--server", "127.0.0.1:1", "--json"];
  assertJsonError(
    await runCli([...args, "--passphrase-file", file], { env: { ...env, VEILFACE_PASSPHRASE: "wrong" } }),
    "SERVER_UNAVAILABLE",
  );
  assertJsonError(await runCli([...args, "--passphrase-file", join(folder, "none")], { env }), "PASSPHRASE_MISSING");
});

test("a server that is down is told with its address", async () => {
  assertError(await runCli(["gallery", "list"], { env: { ...env, VEILFACE_SERVER: "127.0.0.1:1" } }), /127\.0\.0\.1:1/);
  assertJsonError(
    await runCli(["verify", "g", "s", "a.jpg", "--server", "127.0.0.1:1", "--json"], { env }),
    "SERVER_UNAVAILABLE",
  );
});

test("plain text to another machine is refused unless it is spelled out", async () => {
  assertJsonError(await runCli(["gallery", "list", "--server", "192.0.2.1:50051", "--json"], { env }), "USAGE");
});

test("people folders that cannot be enrolled say why", async () => {
  const people = join(folder, "people");
  assertError(await runCli(["enroll", "g", "--dir", people], { env }), /cannot be read/);
  await mkdir(people);
  assertError(await runCli(["enroll", "g", "--dir", people], { env }), /one per person/);
  await mkdir(join(people, "Zoë O'Neill"));
  assertError(await runCli(["enroll", "g", "--dir", people], { env }), /zoe-o-neill/);
  await mkdir(join(folder, "empty", "ada"), { recursive: true });
  assertError(await runCli(["enroll", "g", "--dir", join(folder, "empty")], { env }), /no photos/);
});

test("Ctrl-C while a server keeps silent ends with 130 and no half output", async () => {
  const silent = createServer().listen(0, "127.0.0.1");
  const { port } = await new Promise<AddressInfo>((resolve) =>
    silent.once("listening", () => {
      resolve(silent.address() as AddressInfo);
    }),
  );
  try {
    const run = await runCli(["gallery", "list", "--server", `127.0.0.1:${port}`], {
      env,
      interruptWhen: once(silent, "connection"),
    });
    assert.deepEqual(run, { code: 130, stdout: "", stderr: "veilface: the call was cancelled\n" });
  } finally {
    silent.close();
  }
});

test("keygen says what the smaller parameter set costs", async () => {
  const { stdout } = await runCli(["keygen", "--help"]);
  assert.match(stdout, /Q30 takes half .* err by about 1e-3 rather than\s+1e-7/);
  assert.match(stdout, /with itself reads up to 0\.067, with PACKED_N4096_Q60 up to 0\.00045/);
});
