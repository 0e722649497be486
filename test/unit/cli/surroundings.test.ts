import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { chmod, chown, copyFile, mkdir, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Command } from "commander";
import { buildProgram, readEnvironment } from "../../../cli/program.ts";
import { readPhoto } from "../../../cli/photos.ts";
import { readEmbeddings } from "../../../client/embeddings/read-embeddings.ts";
import { LAUNCHER, runIn } from "../../support/process/cli-surroundings.ts";
import type { Ended, Surroundings } from "../../support/process/cli-surroundings.ts";

const NOBODY = 54_321;
const isRoot = process.getuid?.() === 0;
const folder = await mkdtemp(join(tmpdir(), "veilface-surroundings-"));
const home = join(folder, "home");
const key = join(folder, "a.key");
const withKey = { HOME: home, VEILFACE_KEY: key, VEILFACE_PASSPHRASE: "a passphrase" };
after(() => rm(folder, { recursive: true, force: true }));

function cli(args: readonly string[], surroundings: Surroundings = {}): Promise<Ended> {
  return runIn([process.execPath, LAUNCHER, ...args], { env: { HOME: home }, ...surroundings });
}

/** That it ended as an error does: one line on standard error, nothing else, code 2. */
function assertError({ code, stdout, stderr }: Ended, says: RegExp): void {
  assert.deepEqual([code, stdout], [2, ""], stderr);
  assert.match(stderr, /^veilface: [^\n]+\n$/);
  assert.match(stderr, says);
}

before(async () => {
  await mkdir(home);
  await chmod(folder, 0o755);
  assert.equal((await cli(["keygen"], { env: withKey })).code, 0);
});

const program = await buildProgram({ signal: new AbortController().signal, finish: () => undefined }, () => undefined);

function everyCommand(command: Command): Command[] {
  return [command, ...command.commands.flatMap(everyCommand)];
}

/** Runs with these variables on top, and puts the environment back. */
function withEnvironment<T>(variables: Readonly<Record<string, string>>, run: () => T): T {
  const before = { ...process.env };
  Object.assign(process.env, variables);
  try {
    return run();
  } finally {
    for (const name of Object.keys(process.env)) if (!(name in before)) Reflect.deleteProperty(process.env, name);
    Object.assign(process.env, before);
  }
}

test("every variable that an option reads is as not set when empty, and switches are read as switches", () => {
  const options = everyCommand(program).flatMap((command) => command.options.map((option) => ({ command, option })));
  const read = options.filter(({ option }) => option.envVar !== undefined);
  const names = new Set(read.map(({ option }) => option.envVar!));
  assert.deepEqual([...names].toSorted(), ["VEILFACE_KEY", "VEILFACE_SERVER", "VEILFACE_TLS", "VEILFACE_TLS_CA"]);
  for (const { command, option } of read) {
    const name = option.envVar!;
    const kept = (value: string): boolean =>
      withEnvironment({ [name]: value }, () => {
        readEnvironment(command);
        return name in process.env;
      });
    assert.equal(kept(""), false, `${name} empty`);
    if (!option.isBoolean()) assert.equal(kept("false"), true, name);
    else {
      for (const yes of ["true", "1", "yes", "on", " TRUE "]) assert.equal(kept(yes), true, `${name}=${yes}`);
      for (const no of ["false", "0", "no", "off", "Off", " "]) assert.equal(kept(no), false, `${name}=${no}`);
      const says = new RegExp(`^${name} is not understood: expected true, 1, yes, on, or false, 0, no, off$`);
      for (const odd of ["maybe", "2", "tru", "-1"]) assert.throws(() => kept(odd), { reason: "USAGE", message: says });
    }
  }
});

test("empty variables are as not set in a run, passphrases too, and only --insecure allows plain text", async () => {
  const empty = Object.fromEntries(
    ["SERVER", "TLS", "TLS_CA", "KEY", "PASSPHRASE", "NEW_PASSPHRASE", "CACHE"].map((name) => [`VEILFACE_${name}`, ""]),
  );
  const passphrase = { VEILFACE_PASSPHRASE: "a passphrase" };
  const [plain, noPassphrase, sameKey, noKey, insecure, odd] = await Promise.all([
    cli(["list", "g", "--key", key], { env: { HOME: home, ...empty, ...passphrase } }),
    cli(["list", "g", "--key", key], { env: { HOME: home, ...empty } }),
    cli(["key", "rotate", "--key", key, "--new-key", key], { env: { HOME: home, ...empty, ...passphrase } }),
    cli(["list", "g"], { env: { HOME: home, ...empty, ...passphrase } }),
    cli(["list", "g", "--server", "192.0.2.1:1"], {
      env: { ...withKey, VEILFACE_INSECURE: "true", VEILFACE_TLS: "off" },
    }),
    cli(["list", "g"], { env: { ...withKey, VEILFACE_TLS: "maybe" } }),
  ]);
  assertError(plain, /no veilface server answers at 127\.0\.0\.1:50051 /);
  assertError(noPassphrase, /no passphrase: set VEILFACE_PASSPHRASE/);
  assertError(sameKey, /the new key is the old one/);
  assertError(noKey, new RegExp(`no key file ${home}/`));
  assertError(insecure, /192\.0\.2\.1:1 is on another machine: use TLS/);
  assertError(odd, /VEILFACE_TLS is not understood/);
});

test("the version is the package's", async () => {
  const { version } = JSON.parse(await readFile(join(LAUNCHER, "..", "..", "package.json"), "utf8")) as {
    version: string;
  };
  assert.deepEqual(await cli(["--version"]), { code: 0, signal: null, stdout: `${version}\n`, stderr: "" });
});

test("a reader that goes away is no error", { skip: process.platform === "win32" }, async () => {
  const closeAtOnce = (child: ChildProcess): void => {
    child.stdout?.destroy();
  };
  const help = await cli(["enroll", "--help"], { meanwhile: closeAtOnce });
  assert.deepEqual([help.code, help.stderr], [0, ""]);
  // The other stream, closed while an error is printed.
  const failed = await cli(["list", "g"], { env: withKey, meanwhile: (child) => child.stderr?.destroy() });
  assert.deepEqual([failed.code, failed.signal], [2, null]);
});

test("what cannot be written to standard output is one line and code 2", {
  skip: process.platform !== "linux",
}, async () => {
  await using full = await open("/dev/full", "w");
  const picture = join(folder, "none.jpg");
  for (const args of [
    ["--help"],
    ["--version"],
    ["keygen", "--force", "--key", join(folder, "other.key")],
    ["compare", picture, picture, "--json"],
  ]) {
    const run = await cli(args, { env: withKey, stdio: ["ignore", full.fd, "pipe"] });
    assertError(run, /^veilface: standard output cannot be written: no space left on device\n$/);
  }
});

test("a user without a home folder is told what to set, and works with that", { skip: !isRoot }, async () => {
  const nobody = { uid: NOBODY, env: { VEILFACE_PASSPHRASE: "a passphrase" } };
  assertError(await cli(["keygen"], nobody), /no home folder for a key file: .*--key or VEILFACE_KEY, or set HOME/);
  assertError(
    await cli(["compare", "a.jpg", "b.jpg"], nobody),
    /no home folder to keep the face model in: set VEILFACE_CACHE/,
  );
  assert.deepEqual((await cli(["--help"], nobody)).code, 0);
  const place = join(folder, "place");
  await mkdir(place);
  await chown(place, NOBODY, NOBODY);
  const made = await cli(["keygen", "--key", join(place, "a.key")], nobody);
  assert.deepEqual([made.code, made.stderr], [0, ""]);
  const args = ["gallery", "list", "--key", join(place, "a.key"), "--server", "127.0.0.1:1"];
  assertError(await cli(args, nobody), /no veilface server answers at 127\.0\.0\.1:1/);
});

test("a key file that is open to others comes with advice that its reader can follow", { skip: !isRoot }, async () => {
  const secret = join(folder, "secret.key");
  await copyFile(key, secret);
  await chmod(secret, 0o444);
  const env = { ...withKey, VEILFACE_KEY: secret };
  assertError(await cli(["gallery", "list"], { env }), /mode 444\): run chmod 600 on it/);
  const other = await cli(["gallery", "list"], { env, uid: NOBODY });
  assertError(
    other,
    /mode 444\): it cannot be changed from here, so have it mounted with mode 0400 or 0440 .*defaultMode: 0400/,
  );
  const [command] = /install -m 600 \S+ \S+/.exec(other.stderr)!;
  const place = join(folder, "nobody");
  await mkdir(place);
  await chown(place, NOBODY, NOBODY);
  execFileSync("sh", ["-c", command], { cwd: place, uid: NOBODY });
  const copied = await cli(["gallery", "list", "--key", join(place, "a.key"), "--server", "127.0.0.1:1"], {
    env: withKey,
    uid: NOBODY,
  });
  assertError(copied, /no veilface server answers/);
});

test("a pipe, device or folder where a file is needed is told at once", {
  skip: process.platform === "win32",
}, async () => {
  const pipe = join(folder, "pipe.csv");
  const photo = join(folder, "pipe.jpg");
  for (const path of [pipe, photo]) execFileSync("mkfifo", [path]);
  const cases: [string[], RegExp][] = [
    [["gallery", "list", "--key", photo], /the key file .* cannot be read: it is a named pipe/],
    [["gallery", "list", "--passphrase-file", photo], /the passphrase file .* cannot be read: it is a named pipe/],
    [["gallery", "list", "--tls-ca", photo], /the certificates .* cannot be read: it is a named pipe/],
    [["keygen", "--key", photo, "--force"], /cannot be written: a named pipe is there/],
    [["keygen", "--key", "/dev/null", "--force"], /cannot be written: a device is there/],
    [["tenseal", "upload", photo], /cannot be read: it is a named pipe/],
    [["gallery", "list", "--tls-ca", join(folder, "none")], /none cannot be read: no such file or directory/],
  ];
  const runs = await Promise.all(cases.map(([args]) => cli(args, { env: withKey })));
  for (const [path, says] of [
    [photo, /a named pipe/],
    ["/dev/zero", /a device/],
    [folder, /a folder/],
    [join(folder, "none"), /no such file/],
  ] as const) {
    await assert.rejects(readPhoto(path), { reason: "USAGE", message: says });
  }
  await assert.rejects(readEmbeddings(pipe).next(), {
    reason: "USAGE",
    message: /it is a named pipe, expected a file/,
  });
  runs.forEach((run, i) => {
    assertError(run, cases[i]![1]);
  });
});

test("a passphrase may come through a pipe that the shell opened", { skip: process.platform !== "linux" }, async () => {
  const list = `"${process.execPath}" "${LAUNCHER}" gallery list --key ${key} --server 127.0.0.1:1`;
  const command = `echo a passphrase | ${list} --passphrase-file /dev/stdin`;
  const run = await runIn(["sh", "-c", command], { env: { HOME: home } });
  assertError(run, /no veilface server answers/);
});

test("SIGTERM at the passphrase prompt leaves the terminal as it was and ends with 143", {
  skip: process.platform !== "linux",
}, async () => {
  const settings = join(folder, "settings");
  const pid = join(folder, "pid");
  // The shell's child writes down its number, then becomes the program.
  const program = `sh -c 'echo $$ >${pid}; exec "${process.execPath}" "${LAUNCHER}" gallery list'`;
  const command = `stty -g >${settings}.before; ${program}; echo ended $?; stty -g >${settings}.after`;
  const killAtPrompt = (child: ChildProcess): void => {
    child.stdout?.on("data", (text: string) => {
      if (text.includes("Passphrase of"))
        setTimeout(() => void readFile(pid, "utf8").then((text) => process.kill(Number(text), "SIGTERM")), 500);
    });
  };
  const stdio: Surroundings["stdio"] = ["pipe", "pipe", "pipe"];
  const { stdout } = await runIn(["script", "-qec", command, "/dev/null"], {
    env: { HOME: home },
    stdio,
    meanwhile: killAtPrompt,
  });
  assert.match(stdout, /ended 143/);
  assert.match(stdout, /no passphrase was given/);
  assert.equal(await readFile(`${settings}.after`, "utf8"), await readFile(`${settings}.before`, "utf8"));
});

test("SIGTERM stops what is under way, with a shell's code for it", async () => {
  const silent = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => silent.once("listening", resolve));
  const { port } = silent.address() as { port: number };
  const args = ["gallery", "list", "--server", `127.0.0.1:${port}`];
  try {
    const meanwhile = (child: ChildProcess): void => void silent.once("connection", () => child.kill("SIGTERM"));
    const run = await cli(args, { env: withKey, meanwhile });
    assert.deepEqual(run, { code: 143, signal: null, stdout: "", stderr: "veilface: the call was cancelled\n" });
  } finally {
    silent.close();
  }
});

test("the trusted certificates of the system are those --tls trusts", {
  skip: process.platform !== "linux",
}, async () => {
  const at = (name: string): string => join(folder, name);
  const openssl = (...args: string[]): Buffer => execFileSync("openssl", args, { stdio: "pipe" });
  openssl(
    "req",
    "-x509",
    "-newkey",
    "rsa:2048",
    "-nodes",
    "-days",
    "2",
    "-subj",
    "/CN=localhost",
    "-addext",
    "subjectAltName=DNS:localhost",
    "-keyout",
    at("tls.key"),
    "-out",
    at("tls.pem"),
  );
  await writeFile(at("empty.pem"), "");
  const { ServerProcess } = await import("../../../scripts/dev/server-process.ts");
  await using server = await ServerProcess.start([
    "--log-level",
    "error",
    "--tls-cert",
    at("tls.pem"),
    "--tls-key",
    at("tls.key"),
  ]);
  const args = ["gallery", "list", "--tls", "--server", server.address.replace("127.0.0.1", "localhost")];
  const nowhere = { SSL_CERT_DIR: home };
  const trusted = await cli(args, { env: { ...withKey, ...nowhere, SSL_CERT_FILE: at("tls.pem") } });
  assert.deepEqual(trusted, { code: 0, signal: null, stdout: "no galleries under this key\n", stderr: "" });
  assertError(
    await cli(args, { env: { ...withKey, ...nowhere, SSL_CERT_FILE: at("empty.pem") } }),
    /self-signed certificate/,
  );
  const extra = await cli(args, { env: { ...withKey, NODE_EXTRA_CA_CERTS: at("tls.pem") } });
  assert.equal(extra.code, 0, extra.stderr);
});
