// What a server says that cannot start on its folder: one plain sentence and exit code 1, never a signal and never
// silence.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { LmdbStore } from "../../server/store/lmdb/lmdb-store.ts";
import { StoreFixture } from "../unit/store/fixture.ts";

const MAIN = join(import.meta.dirname, "..", "..", "server", "main.ts");
const PAGE_BYTES = 4096;

const folder = mkdtempSync(join(tmpdir(), "veilface-start-"));
after(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** A store's data file with a few templates in it. */
let whole: Buffer;
before(async () => {
  await using fixture = await StoreFixture.withGallery();
  for (let i = 0; i < 20; i++) await fixture.put(`t-${i}`, "s");
  await fixture.store.close();
  whole = readFileSync(join(fixture.path, "data.mdb"));
});

let folders = 0;

/** A new folder with that as its data file. */
function folderWith(data: Buffer): string {
  const path = join(folder, `store-${folders++}`);
  mkdirSync(path);
  writeFileSync(join(path, "data.mdb"), data);
  return path;
}

interface Start {
  readonly code: number | null;
  readonly signal: string | null;
  readonly said: string;
}

const SERVER = [process.execPath, "--conditions=source", MAIN, "--address", "127.0.0.1:0", "--log-level", "warn"];

/** Starts the server and waits for its end; one that says that it listens is stopped. */
async function start(
  path: string,
  { args = [], wrapper = [], uid }: { args?: string[]; wrapper?: string[]; uid?: number } = {},
): Promise<Start> {
  const [command, ...rest] = [...wrapper, ...SERVER, "--data", path, ...args];
  const child = spawn(command!, rest, { stdio: ["ignore", "pipe", "pipe"], ...(uid !== undefined && { uid }) });
  child.stdout.once("data", () => child.kill("SIGTERM"));
  const [said, [code, signal]] = await Promise.all([
    text(child.stderr),
    once(child, "close") as Promise<[number | null, string | null]>,
  ]);
  return { code, signal, said };
}

async function assertRefused(path: string, words: RegExp, options: Parameters<typeof start>[1] = {}): Promise<void> {
  const { code, signal, said } = await start(path, options);
  assert.deepEqual([code, signal], [1, null], said);
  assert.match(said, words);
  assert.match(said, /^veilface-server: [^\n]*\n$/, "one line");
}

test("a data file that is empty, cut or damaged at its start is refused with what to do", async () => {
  const refused = (byteLength: number, words: RegExp): void => {
    assert.throws(() => LmdbStore.open({ path: folderWith(whole.subarray(0, byteLength)) }), words);
  };
  refused(0, /has an empty data\.mdb: restore .* or remove the file to begin a new store/);
  refused(100, /damaged.* restore/);
  refused(PAGE_BYTES, /second page is damaged or missing: restore/);
  for (const byteLength of [2 * PAGE_BYTES, whole.length / 2, whole.length - 1000]) {
    refused(byteLength, new RegExp(`was cut: it has ${Math.floor(byteLength)} bytes.*restore`));
  }
  await assertRefused(folderWith(whole.subarray(0, whole.length - PAGE_BYTES)), /was cut/);
});

test("pages that damage LMDB itself are told by a trial, not by the end of the server", async () => {
  const damaged = Buffer.from(whole);
  // All tree pages: their node offsets lead anywhere.
  for (let page = 2 * PAGE_BYTES; page < damaged.length; page += PAGE_BYTES) {
    if (damaged.readUInt16LE(page + 18) === 2) damaged.fill(0xff, page + 20, page + 64);
  }
  await assertRefused(folderWith(damaged), /cannot be (opened|read)|schema|another program/);
});

test("a whole data file opens, and once it was refused nothing was changed", async () => {
  const path = folderWith(whole);
  truncateSync(join(path, "data.mdb"), whole.length - PAGE_BYTES);
  await assertRefused(path, /was cut/);
  assert.equal(readFileSync(join(path, "data.mdb")).length, whole.length - PAGE_BYTES);
  writeFileSync(join(path, "data.mdb"), whole);
  const { code, said } = await start(path);
  assert.equal(code, 0, said);
  const store = LmdbStore.open({ path });
  assert.equal(store.getGallery("g").templateCount, 20);
  await store.close();
});

test("what is no file or folder where one should be is named", async () => {
  const file = join(folder, "a-file");
  writeFileSync(file, "x");
  assert.throws(() => LmdbStore.open({ path: file }), /cannot be made.*--data/);
  assert.throws(() => LmdbStore.open({ path: join(file, "below") }), /cannot be made.*--data/);
  await assertRefused("/proc/there-is-no-such-folder/data", /cannot be made.*--data/);
  const odd = join(folder, "odd");
  mkdirSync(join(odd, "data.mdb"), { recursive: true });
  assert.throws(() => LmdbStore.open({ path: odd }), /data\.mdb that is no file/);
  const link = join(folder, "link");
  mkdirSync(link);
  symlinkSync("/dev/null", join(link, "data.mdb"));
  assert.throws(() => LmdbStore.open({ path: link }), /data\.mdb that is no file/);
});

const NOBODY = 65_534;
const root = process.getuid?.() === 0;

test("files of another user are refused, the lock file like the data file", {
  skip: !root && "takes root",
}, async () => {
  for (const name of ["data.mdb", "lock.mdb"]) {
    const path = folderWith(whole);
    const { code } = await start(path);
    assert.equal(code, 0);
    const chmod = spawn("chmod", ["-R", "a+rwX", folder]);
    await once(chmod, "close");
    await once(spawn("chmod", ["600", join(path, name)]), "close");
    await assertRefused(
      path,
      new RegExp(`${name.replace(".", "\\.")} that cannot be written: give the folder and its files to the user`),
      { uid: NOBODY },
    );
  }
});

test("where the address space does not suffice the flag that asks for less is named, and with it the server starts", async () => {
  const path = folderWith(whole);
  const wrapper = ["sh", "-c", 'ulimit -v 120000000 && exec "$@"', "sh"];
  await assertRefused(path, /address space are not to be had.*--map-bytes/, {
    wrapper,
    args: ["--map-bytes", `${2 ** 40}`],
  });
  const { code, said } = await start(path, { wrapper });
  assert.equal(code, 0, said);
});

test("a server in another process namespace is told, also where both have the same process id", {
  skip: !root && "takes root",
}, async () => {
  const path = folderWith(whole);
  const inNamespace = ["unshare", "-pf", "--mount-proc", "--kill-child"];
  const first = spawn(inNamespace[0]!, [...inNamespace.slice(1), ...SERVER, "--data", path], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  await once(first.stdout, "data");
  await assertRefused(path, /is open in (process \d+|a process of the same process id.*container)/, {
    wrapper: inNamespace,
  });
  first.kill("SIGKILL");
  await once(first, "close");
});
