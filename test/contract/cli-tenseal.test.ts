import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { runCli, temporaryFolder } from "../support/process/cli-process.ts";
import { startContractServer, testThatTheLogTellsNothing } from "../support/independent/contract-suite.ts";
import { createPairwiseContext, tensealUpload } from "../support/independent/pairwise-context.ts";
import { realTensealBytes, tensealBytesMadeHere } from "../support/independent/tenseal-bytes.ts";
import type { TensealBytes } from "../support/independent/tenseal-bytes.ts";

const { server, client } = await startContractServer();
const { folder, remove } = await temporaryFolder();
after(remove);
const env = { VEILFACE_SERVER: server.address, VEILFACE_KEY: join(folder, "none.key") };
const real = await realTensealBytes("veilface tenseal is tested with bytes made here only");
// Measured: 3e-6 at a distance of about 31, most of it from the encryption itself.
const TOLERANCE = 1e-5;

async function json(code: number, ...args: string[]): Promise<Record<string, unknown>> {
  const run = await runCli(["tenseal", ...args, "--json"], { env });
  assert.deepEqual([run.code, run.stderr], [code, ""], run.stdout);
  return JSON.parse(run.stdout) as Record<string, unknown>;
}

/** Writes bytes raw (NAME.bin) and as base64 text (NAME.txt). */
async function files(name: string, bytes: Buffer): Promise<{ raw: string; text: string }> {
  const [raw, text] = [join(folder, `${name}.bin`), join(folder, `${name}.txt`)];
  await Promise.all([writeFile(raw, bytes), writeFile(text, bytes.toString("base64"))]);
  return { raw, text };
}

/** All of the road with one party's bytes. */
function testTheRoad(whose: string, bytes: TensealBytes): void {
  const { maker, plain1, plain2, squaredDistance } = bytes;
  const named = (name: string): string => `${name}-${whose.replaceAll(" ", "-")}`;
  const decrypt = (data: Buffer): number => maker.decrypt("CIPHERTEXT_ENCODING_TENSEAL_CKKS_VECTOR", data);
  let id: string;

  test(`${whose}: a public context has the id that it has by the bare contract, uploaded raw or as base64 text`, async () => {
    const { raw, text } = await files(named("public"), bytes.publicContext);
    const context = await json(0, "upload", raw);
    id = context["contextId"] as string;
    assert.deepEqual([context["maxDimension"], context["slots"], context["scale"]], [4096, 4096, 2 ** 40]);
    assert.ok((context["expectedError"] as number) > 1e-7 && (context["expectedError"] as number) < 1e-5);
    assert.equal((await json(0, "upload", text, "--accept-error", "1e-5"))["contextId"], id);
    const { error } = (await json(2, "upload", text, "--accept-error", "1e-9")) as {
      error: { serverReason: string; message: string };
    };
    assert.equal(error.serverReason, "SCALE_OVERFLOW");
    assert.match(error.message, /expected error.*at most 1e-9/s);
    // With its public key, which the command leaves out.
    assert.equal((await createPairwiseContext(client, tensealUpload(bytes.publicContext))).context_id, id);
  });

  test(`${whose}: comparisons write files that decrypt to the plain result`, async () => {
    const [v1, v2] = [await files(named("v1"), bytes.v1), await files(named("v2"), bytes.v2)];
    const out = await files(named("distance"), Buffer.alloc(0));
    await json(0, "compare", id, v1.raw, v2.text, "--out", out.raw, "--force");
    assert.ok(Math.abs(decrypt(await readFile(out.raw)) - squaredDistance) < TOLERANCE);
    // A file compared with itself, raw and as text, is the first thing that one tries.
    assert.deepEqual(await json(0, "compare", id, v1.raw, v1.text, "--out", join(folder, "none.bin")), {
      contextId: id,
      operation: "SQUARED_DISTANCE",
      identical: true,
    });
    const normBound = String(Math.max(Math.hypot(...plain1), Math.hypot(...plain2)));
    await json(
      0,
      "compare",
      id,
      v1.text,
      v2.raw,
      "--out",
      out.text,
      "--force",
      "--operation",
      "INNER_PRODUCT",
      "--norm-bound",
      normBound,
    );
    const innerProduct = plain1.reduce((sum, x, k) => sum + x * plain2[k]!, 0);
    assert.ok(Math.abs(decrypt(Buffer.from(await readFile(out.text, "latin1"), "base64")) - innerProduct) < TOLERANCE);
  });

  test(`${whose}: the secret context is refused, and the context works until it is deleted`, async () => {
    const secret = await files(named("secret"), bytes.secretContext);
    for (const path of [secret.raw, secret.text]) {
      const { error } = (await json(2, "upload", path)) as { error: { reason: string } };
      assert.equal(error.reason, "SECRET_KEY_REFUSED");
    }
    await json(0, "delete", id);
    const { error } = (await json(
      2,
      "compare",
      id,
      join(folder, `${named("v1")}.bin`),
      join(folder, `${named("v2")}.bin`),
      "--out",
      join(folder, "none.bin"),
    )) as { error: { serverReason: string } };
    assert.equal(error.serverReason, "CONTEXT_NOT_FOUND");
  });
}

testTheRoad("bytes made here", await tensealBytesMadeHere());
if (real !== undefined) testTheRoad("bytes of a real TenSEAL", real);

testThatTheLogTellsNothing(server);
