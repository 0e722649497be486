import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmod, mkdtemp, readFile, readdir, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { ClientError } from "../../../client/errors.ts";
import type { ClientErrorReason } from "../../../client/errors.ts";
import { decryptKeyFile, encryptKeyFile } from "../../../client/keys/key-file-format.ts";
import { loadKeyFile, saveKeyFile } from "../../../client/keys/key-file.ts";
import { KeyHolder } from "../../../client/keys/key-holder.ts";
import type { SecretKeyMaterial } from "../../../client/keys/key-holder.ts";
import { ciphersOf } from "../../../client/keys/key-holder.ts";

const PASSPHRASE = "correct horse battery staple";
const CHEAP = { N: 2, r: 1, p: 1 };

async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "veilface-key-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

const refusedAs =
  (...reasons: ClientErrorReason[]) =>
  (error: unknown): boolean =>
    error instanceof ClientError && reasons.includes(error.reason);

/** Key material whose bytes stand for a key: the format does not look inside. */
function material(secretKey = Buffer.from("the secret bytes")): SecretKeyMaterial {
  return { parameterSet: "PACKED_N4096_Q60", keyId: Buffer.alloc(32, 7), secretKey };
}

/** As someone does who edits a file and knows the format: the checksum is made anew. */
function withChecksum(body: Uint8Array): Buffer {
  return Buffer.concat([body, createHash("sha256").update(body).digest()]);
}

function editHeader(file: Buffer, edit: (header: string) => string): Buffer {
  const end = file.indexOf("\n");
  return withChecksum(Buffer.concat([Buffer.from(edit(file.subarray(0, end).toString())), file.subarray(end, -32)]));
}

test("a key comes back from its file under its passphrase, byte for byte, also where the passphrase is not ASCII", async (t) => {
  const path = join(await temporaryFolder(t), "made", "on the way", "a.key");
  using holder = await KeyHolder.create();
  await saveKeyFile(path, { keyHolder: holder, passphrase: "Zürich 🔑" });
  // The same text in decomposed form, as another keyboard may type it.
  using loaded = await loadKeyFile(path, "Zu\u0308rich 🔑");
  assert.deepEqual(loaded.exportSecretKeyUnprotected(), holder.exportSecretKeyUnprotected());
  assert.equal(loaded.contextId, holder.contextId);
  assert.equal(ciphersOf(loaded).parameterSet, ciphersOf(holder).parameterSet);
});

test("a key file is its owner's alone, leaves nothing beside it and holds the key nowhere in the clear", async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, "a.key");
  using holder = await KeyHolder.create("PACKED_N4096_Q30");
  await saveKeyFile(path, { keyHolder: holder, passphrase: PASSPHRASE });
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(folder), ["a.key"]);
  const { secretKey } = holder.exportSecretKeyUnprotected();
  const file = await readFile(path);
  for (let at = 100; at + 32 <= secretKey.length; at += 1000)
    assert.equal(file.includes(Buffer.from(secretKey.subarray(at, at + 32))), false);
});

test("a key file that is there is kept unless it is forced", async (t) => {
  const path = join(await temporaryFolder(t), "a.key");
  using first = await KeyHolder.create("PACKED_N4096_Q30");
  using second = await KeyHolder.create("PACKED_N4096_Q30");
  await saveKeyFile(path, { keyHolder: first, passphrase: PASSPHRASE });
  const before = await readFile(path);
  await assert.rejects(saveKeyFile(path, { keyHolder: second, passphrase: PASSPHRASE }), refusedAs("KEY_FILE_EXISTS"));
  assert.deepEqual(await readFile(path), before);
  await saveKeyFile(path, { keyHolder: second, passphrase: PASSPHRASE }, { force: true });
  using loaded = await loadKeyFile(path, PASSPHRASE);
  assert.equal(loaded.contextId, second.contextId);
});

test("of two keys saved to one place at once exactly one is there, whole", async (t) => {
  const path = join(await temporaryFolder(t), "a.key");
  using first = await KeyHolder.create("PACKED_N4096_Q30");
  using second = await KeyHolder.create("PACKED_N4096_Q30");
  const outcomes = await Promise.allSettled([
    saveKeyFile(path, { keyHolder: first, passphrase: PASSPHRASE }),
    saveKeyFile(path, { keyHolder: second, passphrase: PASSPHRASE }),
  ]);
  const winners = outcomes.map(({ status }) => status === "fulfilled");
  assert.equal(winners.filter(Boolean).length, 1);
  using loaded = await loadKeyFile(path, PASSPHRASE);
  assert.equal(loaded.contextId, (winners[0] === true ? first : second).contextId);
});

test("a wrong passphrase is told from a damaged file", async () => {
  const file = await encryptKeyFile(material(), PASSPHRASE, CHEAP);
  await assert.rejects(decryptKeyFile(file, "correct horse battery stable"), refusedAs("WRONG_PASSPHRASE"));
  await assert.rejects(decryptKeyFile(file.subarray(0, -1), PASSPHRASE), refusedAs("KEY_FILE_INVALID"));
});

test("a file with any byte damaged is refused as damaged, and cut short anywhere as well", async () => {
  const file = await encryptKeyFile(material(), PASSPHRASE, CHEAP);
  for (let at = 0; at < file.length; at++) {
    const damaged = Buffer.from(file);
    damaged[at]! ^= 1 << (at % 8);
    await assert.rejects(decryptKeyFile(damaged, PASSPHRASE), refusedAs("KEY_FILE_INVALID"), `byte ${at}`);
    await assert.rejects(
      decryptKeyFile(file.subarray(0, at), PASSPHRASE),
      refusedAs("KEY_FILE_INVALID"),
      `cut to ${at}`,
    );
  }
});

test("a file with any bit of its header, ciphertext or tag changed is refused even where its checksum was made anew", async () => {
  const file = await encryptKeyFile(material(), PASSPHRASE, CHEAP);
  for (let bit = 0; bit < 8 * (file.length - 32); bit++) {
    const body = Buffer.from(file.subarray(0, -32));
    body[bit >> 3]! ^= 1 << (bit & 7);
    await assert.rejects(
      decryptKeyFile(withChecksum(body), PASSPHRASE),
      refusedAs("KEY_FILE_INVALID", "WRONG_PASSPHRASE"),
      `bit ${bit}`,
    );
  }
});

test("a header that asks scrypt for gigabytes or hours is refused at once", async () => {
  const file = await encryptKeyFile(material(), PASSPHRASE, CHEAP);
  for (const cost of [
    '"N":1073741824,"r":8,"p":1',
    '"N":4194304,"r":2,"p":1',
    '"N":2,"r":536870912,"p":1',
    '"N":65536,"r":8,"p":100000',
    '"N":2,"r":1,"p":1e9',
    '"N":1e999,"r":8,"p":1',
  ]) {
    const hostile = editHeader(file, (header) => header.replace('"N":2,"r":1,"p":1', cost));
    assert.ok(hostile.includes(cost));
    const start = performance.now();
    await assert.rejects(decryptKeyFile(hostile, PASSPHRASE), refusedAs("KEY_FILE_INVALID"), cost);
    assert.ok(performance.now() - start < 100, `${cost} took ${performance.now() - start} ms`);
  }
});

test("costs that scrypt does not have are refused", async () => {
  const file = await encryptKeyFile(material(), PASSPHRASE, CHEAP);
  for (const cost of [
    '"N":3,"r":1,"p":1',
    '"N":1,"r":1,"p":1',
    '"N":0,"r":1,"p":1',
    '"N":-2,"r":1,"p":1',
    '"N":2.5,"r":1,"p":1',
    '"N":"2","r":1,"p":1',
    '"N":2,"r":0,"p":1',
    '"r":1,"p":1',
    '"N":null,"r":1,"p":1',
  ]) {
    const hostile = editHeader(file, (header) => header.replace('"N":2,"r":1,"p":1', cost));
    await assert.rejects(decryptKeyFile(hostile, PASSPHRASE), refusedAs("KEY_FILE_INVALID"), cost);
  }
});

test("the same header written otherwise, or with a field more, is not a key file", async () => {
  const file = await encryptKeyFile(material(), PASSPHRASE, CHEAP);
  const edits = [
    (h: string) => h.replace(",", ", "),
    (h: string) => h.replace(/}$/, ',"more":1}'),
    (h: string) => h.replace('"version":1', '"version":2'),
    (h: string) => h.replace("AES-256-GCM", "NONE"),
  ];
  for (const edit of edits)
    await assert.rejects(decryptKeyFile(editHeader(file, edit), PASSPHRASE), refusedAs("KEY_FILE_INVALID"));
});

test("files that are something else are refused, and an absent one is told", async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, "a.key");
  await assert.rejects(loadKeyFile(path, PASSPHRASE), refusedAs("KEY_FILE_MISSING"));
  for (const content of ["", "hello", '{"format":"veilface-key"}\n', Buffer.alloc(300_000)]) {
    await writeFile(path, content, { mode: 0o600 });
    await assert.rejects(loadKeyFile(path, PASSPHRASE), refusedAs("KEY_FILE_INVALID"));
  }
  await assert.rejects(loadKeyFile(folder, PASSPHRASE), refusedAs("KEY_FILE_INVALID", "KEY_FILE_EXPOSED"));
});

test("a key file that the world can read or a group can write is refused; a group may read", {
  skip: process.platform === "win32",
}, async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, "a.key");
  using holder = await KeyHolder.create("PACKED_N4096_Q30");
  await saveKeyFile(path, { keyHolder: holder, passphrase: PASSPHRASE });
  await symlink(path, join(folder, "link.key"));
  for (const mode of [0o644, 0o604, 0o620, 0o602, 0o601]) {
    await chmod(path, mode);
    await assert.rejects(loadKeyFile(path, PASSPHRASE), refusedAs("KEY_FILE_EXPOSED"), mode.toString(8));
    await assert.rejects(loadKeyFile(join(folder, "link.key"), PASSPHRASE), refusedAs("KEY_FILE_EXPOSED"));
  }
  await chmod(path, 0o440);
  using loaded = await loadKeyFile(path, PASSPHRASE);
  assert.equal(loaded.contextId, holder.contextId);
});

test("an empty passphrase is refused, to save and to load", async (t) => {
  const path = join(await temporaryFolder(t), "a.key");
  using holder = await KeyHolder.create("PACKED_N4096_Q30");
  await assert.rejects(saveKeyFile(path, { keyHolder: holder, passphrase: "" }), refusedAs("PASSPHRASE_MISSING"));
  await assert.rejects(loadKeyFile(path, ""), refusedAs("PASSPHRASE_MISSING"));
  await assert.rejects(stat(path));
});
