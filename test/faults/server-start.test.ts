import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const MAIN = join(import.meta.dirname, "..", "..", "server", "main.ts");
const folder = await mkdtemp(join(tmpdir(), "veilface-test-"));
after(() => rm(folder, { recursive: true, force: true }));
const file = join(folder, "file");
await writeFile(file, "no folder, no certificate");

/**
 * Fails unless the server ends with code 1 and one plain line that matches, on standard error, and nothing on standard
 * output.
 */
async function assertRefusesToStart(says: RegExp, ...args: string[]): Promise<void> {
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined };
  const usual = ["--address", "127.0.0.1:0", "--data", join(folder, "data"), "--log-level", "silent"];
  const child = spawn(process.execPath, ["--conditions=source", MAIN, ...usual, ...args], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const printed = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name].on("data", (text: Buffer) => {
      printed[name] += text.toString();
    });
  const guard = setTimeout(() => child.kill("SIGKILL"), 60_000);
  const [code] = (await once(child, "close")) as [number | null];
  clearTimeout(guard);
  assert.deepEqual([code, printed.stdout], [1, ""], printed.stderr);
  assert.match(printed.stderr, /^veilface-server: [^\n]+\n$/);
  assert.match(printed.stderr, says);
  assert.doesNotMatch(printed.stderr, /No address added|at .*\.ts:\d+|mkdir|undefined/);
}

test("a port that is in use is named, with what to do", async () => {
  const other = createServer();
  await once(other.listen(0, "127.0.0.1"), "listening");
  const address = `127.0.0.1:${(other.address() as AddressInfo).port}`;
  await assertRefusesToStart(
    new RegExp(`cannot listen on ${address}: another program listens there \\(EADDRINUSE\\); .*--address`),
    "--address",
    address,
  );
  other.close();
});

test("an address that the machine does not have, and a name that is none, are named", async () => {
  await assertRefusesToStart(
    /203\.0\.113\.1:0: this machine has no such address \(EADDRNOTAVAIL\)/,
    "--address",
    "203.0.113.1:0",
    "--insecure",
  );
  await assertRefusesToStart(/cannot listen on nowhere\.invalid:0: /, "--address", "nowhere.invalid:0", "--insecure");
});

test("a data folder that is a file, or lies below one, is named, with what to do", async () => {
  await assertRefusesToStart(
    /store folder .*file cannot be made: .*--data.*there is a file of that name \(EEXIST\)/,
    "--data",
    file,
  );
  await assertRefusesToStart(/a part of the path is a file, not a folder \(ENOTDIR\)/, "--data", join(file, "below"));
  await assertRefusesToStart(/the path is too long \(ENAMETOOLONG\)/, "--data", join(folder, "x".repeat(300)));
});

test("a data folder that may not be made is named", {
  skip: process.getuid?.() === 0 ? false : "needs a folder that not even root may write to",
}, async () => {
  await assertRefusesToStart(
    /permission is denied \((EACCES|EPERM)\)|the file system is read-only \(EROFS\)/,
    "--data",
    "/sys/veilface",
  );
});

test("a certificate that is not there, or is none, is named with its flag", async () => {
  const missing = join(folder, "missing.pem");
  await assertRefusesToStart(
    /--tls-cert .*missing\.pem cannot be read: there is no such file or folder \(ENOENT\)/,
    "--tls-cert",
    missing,
    "--tls-key",
    file,
  );
  await assertRefusesToStart(
    /--tls-key .* cannot be read: it is a folder, not a file \(EISDIR\)/,
    "--tls-cert",
    file,
    "--tls-key",
    folder,
  );
  await assertRefusesToStart(/are no certificate and its key: .*PEM/, "--tls-cert", file, "--tls-key", file);
});
