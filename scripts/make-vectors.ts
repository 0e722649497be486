// Writes the test vectors that docs/wire-format.md describes into test/vectors: npm run vectors.
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { allVectors } from "./vectors/all-vectors.ts";
import { layOutJson } from "./vectors/lay-out-json.ts";

const FOLDER = join(import.meta.dirname, "..", "test", "vectors");

for (const [name, vector] of await allVectors()) await writeFile(join(FOLDER, name), layOutJson(vector));
