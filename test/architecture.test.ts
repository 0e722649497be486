import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join, sep } from "node:path";
import { test } from "node:test";
import { WORKSHOPS, WORKSPACES, architectureBreaches, importsOf } from "./support/architecture-rules.ts";
import type { Source } from "./support/architecture-rules.ts";

const ROOT = join(import.meta.dirname, "..");

/**
 * Every TypeScript and JavaScript source of a package: generated code too, but neither builds nor the kernel's
 * AssemblyScript.
 */
function sourcesOf(workspace: string): Source[] {
  const files = globSync(`${workspace}/**/*.{ts,js,mjs}`, {
    cwd: ROOT,
    exclude: (path) => /(^|[/\\])(node_modules|dist|assembly)($|[/\\])/.test(path),
  });
  return files.map((path) => ({ path: path.split(sep).join("/"), text: readFileSync(join(ROOT, path), "utf8") }));
}

function dependenciesOf(workspace: string): string[] {
  const { dependencies = {} } = JSON.parse(readFileSync(join(ROOT, workspace, "package.json"), "utf8")) as {
    dependencies?: Record<string, string>;
  };
  return Object.keys(dependencies);
}

const sources = [...WORKSPACES, ...WORKSHOPS].flatMap(sourcesOf);

test("imports go one way, and each package touches only what it may", () => {
  for (const workspace of WORKSPACES)
    assert.ok(
      sources.filter(({ path }) => path.startsWith(`${workspace}/`)).length >= 5,
      `the sources of ${workspace} were found`,
    );
  assert.deepEqual(architectureBreaches(sources, []), []);
});

for (const workspace of WORKSPACES) {
  test(`${workspace}/package.json lists exactly what ${workspace} imports`, () => {
    const own = sources.filter(({ path }) => path.startsWith(`${workspace}/`));
    assert.deepEqual(architectureBreaches(own, [{ workspace, dependencies: dependenciesOf(workspace) }]), []);
  });
}

test("every way to import something is seen", () => {
  const text = `
    import a from "a";
    import type { B } from "b";
    import "c";
    export { d } from "d";
    export * from "e";
    const f = await import("f");
    type G = import("g").G;
    const h = require("h");
    const i = import.meta.resolve("i");
    const j = require.resolve("j/package.json");
    const k = createRequire(import.meta.url).resolve("k");
    import l = require("l");
    const m = await import(\`m\`);
    // import "not-this";
    const text = 'import "nor-this"';
    Promise.resolve("nor-that"); path.resolve("nor-that-one");
  `;
  assert.deepEqual(importsOf({ path: "server/x.ts", text }).sort(), [
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    "j/package.json",
    "k",
    "l",
    "m",
  ]);
});

const BREACHES: readonly (readonly [string, string])[] = [
  ["server/x.ts", 'import { KeyHolder } from "@veilface/client";'],
  ["client/x.ts", 'import { startServer } from "@veilface/server";'],
  ["client/x.ts", 'const { startServer } = await import("@veilface/server");'],
  ["client/x.ts", 'import { FaceEncoder } from "@veilface/face";'],
  ["face/x.ts", 'import { ClientError } from "@veilface/client";'],
  ["face/x.ts", 'import type { Metric } from "@veilface/fhe";'],
  ["cli/x.ts", 'import { plainDistance } from "@veilface/fhe";'],
  ["cli/x.ts", 'import { startServer } from "@veilface/server";'],
  ["server/x.ts", 'import "veilface";'],
  ["fhe/x.ts", 'import type { Context } from "@veilface/proto";'],
  ["fhe/x.ts", 'import { Metadata } from "nice-grpc";'],
  ["fhe/x.ts", 'import { readFile } from "node:fs/promises";'],
  ["fhe/x.ts", 'import { readFileSync } from "fs";'],
  ["fhe/packed/x.ts", 'import { PairwiseEvaluator } from "../pairwise/evaluator.ts";'],
  ["fhe/pairwise/x.ts", 'import { layoutOf } from "../packed/layout.ts";'],
  ["proto/index.ts", 'export { layoutOf } from "@veilface/fhe";'],
  ["server/x.ts", 'import { layoutOf } from "../fhe/packed/layout.ts";'],
  ["face/x.ts", 'export * from "../server/main.ts";'],
  ["cli/x.ts", 'import { ClientError } from "../client/errors.ts";'],
  ["client/x.ts", 'import sharp from "sharp";'],
  ["face/x.ts", 'import { Tensor } from "onnxruntime-node";'],
  ["server/x.ts", 'type Session = import("onnxruntime-node").InferenceSession;'],
  ["server/x.ts", 'import { open } from "lmdb";'],
  ["server/store/gallery-store.ts", 'import type { Database } from "lmdb";'],
  ["server/compute/packed/x.ts", 'import type { CallContext } from "nice-grpc";'],
  ["server/requests/x.ts", 'import { status } from "@grpc/grpc-js";'],
  ["client/match/x.ts", 'import { Status } from "nice-grpc";'],
  ["cli/x.ts", 'import { Status } from "nice-grpc";'],
  ["server/store/x.ts", 'import type { Gallery } from "@veilface/proto";'],
  ["server/compute/x.ts", 'import type { Gallery } from "@veilface/proto";'],
  ["server/requests/x.ts", 'import { wall } from "../rpc/wall.ts";'],
  ["server/compute/x.ts", 'import { readAll } from "../requests/read-all.ts";'],
  ["server/store/lmdb/x.ts", 'import { WorkerPool } from "../../compute/worker-pool.ts";'],
  ["server/compute/packed/x.ts", 'import { admit } from "../pairwise/admission.ts";'],
  ["server/compute/pairwise/x.ts", 'import { SharedScans } from "../packed/shared-scans.ts";'],
  ["server/x.ts", 'import initialize from "node-seal";'],
  ["server/x.ts", "const { SecretKey } = seal;"],
  ["server/x.ts", 'new seal["KeyGenerator"](context);'],
  ["server/x.ts", "// a Decryptor would go here"],
  ["server/x.ts", 'import { loadSealForKeyHolder } from "@veilface/fhe";'],
  ["client/match/x.ts", "new seal.Decryptor(context, key);"],
  ["cli/x.ts", "const { SecretKey } = seal;"],
  ["fhe/packed/ciphertext-codec.ts", "new seal.Decryptor(context, key);"],
  ["client/x.ts", 'import "/etc/x.ts";'],
  ["demo/x.ts", 'import { ServerProcess } from "../test/support/process/server-process.ts";'],
  ["bench/x.ts", 'import { TensealMaker } from "../test/support/independent/tenseal-maker.ts";'],
  ["scripts/vectors/x.ts", 'import { leaksIn } from "../../test/support/leak-watch.ts";'],
];

for (const [path, text] of BREACHES) {
  test(`refused: ${text} in ${path}`, () => {
    const breaches = architectureBreaches([{ path, text }], []);
    assert.ok(breaches.length > 0 && breaches.every((breach) => breach.startsWith(path)), "the rule sees it");
  });
}

const ALLOWED: readonly (readonly [string, string])[] = [
  ["server/rpc/gallery-service.ts", 'import type { CallContext } from "nice-grpc";'],
  ["server/store/lmdb/lmdb-store.ts", 'import { open } from "lmdb";'],
  [
    "server/x.ts",
    'import { layoutOf } from "@veilface/fhe"; import type { Gallery } from "@veilface/proto"; import "./y.ts";',
  ],
  [
    "server/requests/x.ts",
    'import { WorkerPool } from "../compute/worker-pool.ts"; import type { GalleryStore } from "../store/gallery-store.ts";',
  ],
  ["face/default-pack/x.ts", 'import sharp from "sharp"; import "../errors.ts";'],
  [
    "cli/x.ts",
    'import "@veilface/client"; import "@veilface/client/advanced"; import "@veilface/face/errors"; import "./y.ts";',
  ],
  ["client/keys/key-holder.ts", "new seal.KeyGenerator(context);"],
  ["client/remote/channel.ts", 'import { createChannel } from "nice-grpc";'],
  ["fhe/seal/seal.ts", "const { SecretKey } = seal as Seal;"],
  ["demo/x.ts", 'import { ServerProcess } from "../scripts/dev/server-process.ts"; import "@veilface/server";'],
  ["bench/x.ts", 'import { TensealMaker } from "../scripts/dev/tenseal-maker.ts"; import "../client/errors.ts";'],
];

for (const [path, text] of ALLOWED) {
  test(`allowed: ${text} in ${path}`, () => {
    assert.deepEqual(architectureBreaches([{ path, text }], []), []);
  });
}

test("a dependency that is not listed, and one that is not used, are both seen", () => {
  const own = [
    {
      path: "server/x.ts",
      text: 'import { pino } from "pino"; import "node:fs"; import "fs/promises"; import "@a/b/c";',
    },
  ];
  assert.deepEqual(architectureBreaches(own, [{ workspace: "server", dependencies: ["pino", "@a/b"] }]), []);
  assert.equal(architectureBreaches(own, [{ workspace: "server", dependencies: ["pino"] }]).length, 1);
  assert.equal(
    architectureBreaches(own, [{ workspace: "server", dependencies: ["pino", "@a/b", "left-pad"] }]).length,
    1,
  );
});
