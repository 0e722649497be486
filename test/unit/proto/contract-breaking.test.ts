// The gate that keeps the contract compatible: npm run breaking, on copies of the contract that break it.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const { scripts } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as { scripts: { breaking: string } };

/** A copy of the contract, as released and as it is now, with the gate's configuration. */
class ContractCopy implements AsyncDisposable {
  readonly folder: string;

  static async create(): Promise<ContractCopy> {
    const folder = await mkdtemp(join(tmpdir(), "veilface-contract-"));
    for (const path of ["buf.yaml", "proto/released.binpb", "proto/veilface", "proto/tenseal"])
      await cp(join(ROOT, path), join(folder, path), { recursive: true });
    return new ContractCopy(folder);
  }

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Changes one place of a file; the text must be there, once. */
  async change(file: string, before: string, after: string): Promise<void> {
    const path = join(this.folder, "proto", "veilface", "v1", file);
    const parts = (await readFile(path, "utf8")).split(before);
    assert.equal(parts.length, 2, `${file} has "${before}" once`);
    await writeFile(path, parts.join(after));
  }

  /**
   * Runs the script as npm does, with the repository's own buf. Resolves with its exit code and all that it printed.
   */
  async gate(): Promise<{ code: number; printed: string }> {
    const env = { ...process.env, PATH: [join(ROOT, "node_modules", ".bin"), process.env["PATH"]].join(delimiter) };
    return new Promise((resolve) => {
      const child = execFile("sh", ["-c", scripts.breaking], { cwd: this.folder, env }, (_error, stdout, stderr) => {
        resolve({ code: child.exitCode ?? -1, printed: stdout + stderr });
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

test("the contract as it is passes the gate", async () => {
  await using copy = await ContractCopy.create();
  assert.deepEqual(await copy.gate(), { code: 0, printed: "" });
});

test("the released contract is a whole one, with every service", async () => {
  const { file } = fromBinary(FileDescriptorSetSchema, await readFile(join(ROOT, "proto", "released.binpb")));
  const rpcs = file.flatMap(({ service }) =>
    service.flatMap(({ name, method }) => method.map((rpc) => `${name}/${rpc.name}`)),
  );
  for (const rpc of ["ContextService/CreateContext", "GalleryService/EnrollTemplates", "MatchingService/SearchGallery"])
    assert.ok(rpcs.includes(rpc));
});

const BREAKS: readonly (readonly [string, string, string, string, RegExp])[] = [
  ["a field with another number", "template.proto", "int32 slot = 2;", "int32 slot = 9;", /slot/],
  ["a field of another type", "template.proto", "int32 slot = 2;", "string slot = 2;", /type/],
  ["a field of another name", "distance.proto", "int32 piece = 2;", "int32 part = 2;", /piece.*part/],
  [
    "an rpc less",
    "gallery_service.proto",
    "rpc ReplaceGallery(ReplaceGalleryRequest) returns (ReplaceGalleryResponse) {\n    option idempotency_level = IDEMPOTENT;\n  }",
    "",
    /ReplaceGallery/,
  ],
  [
    "an rpc that streams no more",
    "matching_service.proto",
    "rpc SearchGallery(stream SearchGalleryRequest)",
    "rpc SearchGallery(SearchGalleryRequest)",
    /SearchGallery/,
  ],
  ["an enum value less", "context.proto", "PARAMETER_SET_PACKED_N4096_Q30 = 2;", "", /enum value "2"/],
];

for (const [what, file, before, after, says] of BREAKS) {
  test(`a contract with ${what} is refused by the gate, which names it`, async () => {
    await using copy = await ContractCopy.create();
    await copy.change(file, before, after);
    const { code, printed } = await copy.gate();
    // buf's exit code for a breaking change; a file that does not parse has another.
    assert.equal(code, 100, printed);
    assert.match(printed, says);
  });
}

test("a new field passes the gate", async () => {
  await using copy = await ContractCopy.create();
  await copy.change("template.proto", "int32 slot = 2;", "int32 slot = 2;\n  // Optional. New.\n  int32 row = 9;");
  assert.deepEqual(await copy.gate(), { code: 0, printed: "" });
});
