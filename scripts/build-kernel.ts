// Compiles the ring kernel and writes it as base64 into a TypeScript module, so that fhe/ needs no file access at run
// time.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import asc from "assemblyscript/asc";

const ring = join(import.meta.dirname, "../fhe/ring");

async function compile(): Promise<Uint8Array> {
  let wasm: Uint8Array | undefined;
  const { error } = await asc.main(
    [
      "assembly/index.ts",
      "--baseDir",
      ring,
      "--outFile",
      "kernel.wasm",
      "-O3",
      "--enable",
      "simd",
      "--runtime",
      "stub",
      "--noAssert",
    ],
    {
      stderr: process.stderr,
      writeFile: (_name: string, contents: Uint8Array | string) => {
        if (typeof contents !== "string") wasm = contents;
      },
    },
  );
  if (error || !wasm) throw new Error("the ring kernel does not compile", { cause: error });
  return wasm;
}

const wasm = await compile();
await mkdir(join(ring, "gen"), { recursive: true });
const source = `// Written by scripts/build-kernel.ts from fhe/ring/assembly.\nexport const kernelWasmBase64 =\n  "${Buffer.from(wasm).toString("base64")}";\n`;
await writeFile(join(ring, "gen/kernel-wasm.ts"), source);
