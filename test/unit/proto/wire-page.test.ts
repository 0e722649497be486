// Every number on docs/wire-format.md that a reader might type in, held to the code.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  CiphertextCodec,
  RingKernel,
  expectedError,
  layoutOf,
  loadSealForKeyHolder,
  packedContextId,
  parameterSet,
  scalesOf,
  sealCiphertext,
  sealPlaintext,
} from "@veilface/fhe";
import type { ParameterSetName } from "@veilface/fhe";
import { MAX_KEY_BYTES, ParameterSet } from "@veilface/proto";
import type { PackedVector } from "../../../scripts/vectors/packed-vector.ts";
import type { NttVector, SmallBlock } from "../../../scripts/vectors/ring-vectors.ts";
import {
  MAX_PAIRWISE_CIPHERTEXT_BYTES,
  distanceScale,
  freshCiphertextBytes,
  maxDistance,
} from "../../../fhe/pairwise/parameters.ts";
import { contract } from "../../../scripts/dev/published-contract.ts";
import { unpack } from "../../support/independent/independent-crypto.ts";
import { bytesOf, readPackedVector, readVector } from "../../vectors/read-vectors.ts";

const page = readFileSync(join(import.meta.dirname, "..", "..", "..", "docs", "wire-format.md"), "utf8");
const seal = await loadSealForKeyHolder();
const ntt = readVector("ntt.json") as NttVector[];

/** What stands between <!-- name --> and <!-- /name -->. */
function marked(name: string): string {
  const text = new RegExp(`<!-- ${name} -->\\n([^]*?)<!-- /${name} -->`).exec(page)?.[1];
  assert.ok(text !== undefined, `the page has no part ${name}`);
  return text;
}

/** The rows of a marked table, without its head; backquotes dropped. */
function table(name: string): string[][] {
  const rows = marked(name)
    .split("\n")
    .filter((line) => line.startsWith("|"));
  return rows.slice(2).map((row) =>
    row
      .slice(1, -1)
      .split("|")
      .map((cell) => cell.trim().replaceAll("`", "")),
  );
}

const numbers = (text: string): number[] => (text.match(/-?\d+(\.\d+)?(e[-+]?\d+)?/g) ?? []).map(Number);
const setOf = (name: string): ReturnType<typeof parameterSet> => parameterSet(name);
const codecOf = (name: string): CiphertextCodec =>
  new CiphertextCodec(seal, RingKernel.create(setOf(name).dataPrimes), setOf(name));

test("the parameter sets are the closed list, with their primes in order", () => {
  const rows = table("parameter-sets");
  assert.equal(rows.length, Object.keys(ParameterSet).filter((name) => name.startsWith("PARAMETER_SET_PACKED")).length);
  for (const [name, value, primes, reserved, q] of rows as [string, string, string, string, string][]) {
    const set = setOf(name);
    assert.equal(Number(value), ParameterSet[`PARAMETER_SET_${name as ParameterSetName}`]);
    assert.deepEqual([numbers(primes), Number(reserved)], [set.dataPrimes, set.reservedPrime]);
    assert.equal(
      BigInt(q),
      set.dataPrimes.reduce((product, prime) => product * BigInt(prime), 1n),
    );
  }
});

test("psi and the inverses are those of the transform, and so are the values to check against", () => {
  assert.deepEqual(
    table("ntt-primes").map((row) => row.map(Number)),
    ntt.map(({ prime, psi, inversePsi, inverseDegree }) => [prime, psi, inversePsi, inverseDegree]),
  );
  const rows = table("ntt-checks");
  assert.equal(rows.length, 4);
  for (const [polynomial, prime, values] of rows as [string, string, string][]) {
    const transform = ntt
      .find((vector) => vector.prime === Number(prime))!
      .transforms.find((one) => one.polynomial === polynomial)!;
    assert.deepEqual(numbers(values), [...transform.first.slice(0, 4), transform.last]);
  }
});

test("the context ids are those of the key id shown", () => {
  const keyId = /key id `([0-9a-f]{64})`/.exec(page)![1]!;
  for (const [name, id] of table("context-ids") as [string, string][]) {
    assert.equal(packedContextId(name as ParameterSetName, Buffer.from(keyId, "hex")), id);
    assert.equal(createHash("sha256").update(`veilface.v1 packed ${name} ${keyId}\n`).digest("hex"), id);
  }
  assert.equal(Number(/is (\d+) bytes long/.exec(page)![1]), `veilface.v1 packed PACKED_N4096_Q60 ${keyId}\n`.length);
});

test("the scales are those that the code derives, to the digits shown", () => {
  const rows = table("scales");
  assert.equal(rows.length, 10);
  for (const [name, ...cells] of rows as [string, ...string[]][]) {
    const [d, s, pieces, slots, template, probe, error] = cells.map(Number) as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const layout = layoutOf(d, s);
    const scales = scalesOf(setOf(name), layout);
    assert.deepEqual([pieces, slots], [layout.pieces, layout.slots]);
    assert.deepEqual(
      [template, probe],
      [Number(scales.template.toPrecision(12)), Number(scales.probe.toPrecision(12))],
    );
    assert.equal(error, Number(expectedError(setOf(name), layout).toPrecision(2)));
  }
});

test("the small block is the one of the vectors", () => {
  const { templates, probe, templatePolynomials, probePolynomials, product } = readVector(
    "small-block.json",
  ) as SmallBlock;
  const lines = marked("small-block").split("\n");
  const rowOf = (label: string): number[] =>
    numbers(
      lines
        .find((line) => line.trim().startsWith(label))!
        .trim()
        .slice(label.length),
    );
  const vectors = [...marked("small-block").matchAll(/\w+ = \(([^)]*)\)/g)].map(([, text]) => numbers(text!));
  assert.deepEqual(vectors, [...templates, probe]);
  assert.deepEqual([rowOf("T0 "), rowOf("T1 ")], templatePolynomials);
  assert.deepEqual([rowOf("P0"), rowOf("P1")], probePolynomials);
  assert.deepEqual(rowOf("T0 P0 + T1 P1"), product);
});

test("the factor that joins the primes is the inverse of the first modulo the second", () => {
  const [q0, q1] = setOf("PACKED_N4096_Q60").dataPrimes.map(BigInt) as [bigint, bigint];
  const h = BigInt(/<!-- garner -->(\d+)<!-- \/garner -->/.exec(page)![1]!);
  assert.equal((q0 * h) % q1, 1n);
});

test("the sizes are those of the bytes that the codec writes", () => {
  for (const [what, packed, uncompressed] of table("sizes") as [string, string, string][]) {
    const name = /PACKED_N4096_Q\d+/.exec(what)![0];
    using codec = codecOf(name);
    const residues = new Uint32Array((what.includes("product") ? 3 : 2) * setOf(name).dataPrimes.length * 4096);
    assert.deepEqual(
      [codec.serialize("PACKED_RESIDUES", residues).length, codec.serialize("SEAL", residues).length],
      [Number(packed), Number(uncompressed)],
    );
  }
  const polynomial = RingKernel.create([1073692673]).pack(
    Uint32Array.from({ length: 4096 }, (_, i) => (i < 4 ? i + 1 : 0)),
  );
  assert.equal(Buffer.from(polynomial.subarray(0, 15)).toString("hex"), marked("packed-bytes").replaceAll(/\s/g, ""));
});

/** The rows of an offsets table as they lie in bytes: [offset, length, value cell]. */
function fields(name: string): [number, number, string][] {
  return table(name).map(([offset, length, , value]) => [Number(offset), Number.parseInt(length!, 10), value!]);
}

test("the fields of SEAL's objects lie one behind the other, from the first byte to the values", () => {
  for (const name of ["seal-ciphertext", "seal-plaintext"]) {
    const all = fields(name);
    all.slice(1).forEach(([offset], i) => {
      assert.equal(offset, all[i]![0] + all[i]![1], `${name}, offset ${offset}`);
    });
  }
});

test("a SEAL ciphertext has the values of the table at its offsets", () => {
  const bytes = Buffer.from(sealCiphertext(new Uint8Array(32).fill(7), 2, new Uint32Array(4 * 4096).fill(9)));
  const read = (name: string, content: string): number => {
    const [offset, length] = fields(name)[table(name).findIndex((row) => row[2]!.startsWith(content))]!;
    return length === 8 ? Number(bytes.readBigUInt64LE(offset)) : bytes.readUIntLE(offset, length);
  };
  const at = (content: string): number => read("seal-ciphertext", content);
  assert.deepEqual(["magic", "size of", "SEAL's major", "SEAL's minor", "compression"].map(at), [0xa15e, 16, 4, 1, 0]);
  assert.deepEqual(
    ["bytes in all", "in NTT form", "components", "N", "data primes", "correction", "number of values"].map(at),
    [131185, 1, 2, 4096, 2, 1, 4 * 4096],
  );
  const scaleRow = table("seal-ciphertext").find((row) => row[2]!.startsWith("scale"))!;
  assert.equal(bytes.readDoubleLE(Number(scaleRow[0])), Number(scaleRow[3]));
  assert.equal(bytes[16], 7);
  assert.equal(bytes.readBigUInt64LE(113), 9n);
  assert.equal(fields("seal-ciphertext").at(-1)![0], 113);
});

test("a SEAL plaintext has the values of the table at its offsets", () => {
  const bytes = Buffer.from(sealPlaintext(new Uint8Array(32).fill(7), new Uint32Array(2 * 4096).fill(9)));
  const offsets = fields("seal-plaintext").map(([offset]) => offset);
  assert.deepEqual(offsets, [0, 16, 48, 56, 64, 80, 88]);
  assert.deepEqual(
    [
      bytes[16],
      bytes.readBigUInt64LE(48),
      bytes.readDoubleLE(56),
      bytes.readBigUInt64LE(80),
      bytes.readBigUInt64LE(88),
    ],
    [7, 8192n, 1, 8192n, 9n],
  );
  assert.equal(Number(bytes.readBigUInt64LE(72)), 24 + 8 * 8192);
});

test("the parms_ids are SEAL's", () => {
  for (const [name, level, hex] of table("parms-ids") as [string, string, string][]) {
    using codec = codecOf(name);
    using generator = new seal.KeyGenerator(codec.context);
    using secretKey = generator.secretKey();
    const key = Buffer.from(secretKey.saveToArray(seal.ComprModeType.none) as Uint8Array).subarray(16, 48);
    assert.equal(Buffer.from(level === "data" ? codec.parmsId : key).toString("hex"), hex, `${name} ${level}`);
  }
});

test("the worked examples are those of the vectors", () => {
  const rows = table("worked-example");
  const columns = [readPackedVector("packed-q60-cosine.json"), readPackedVector("packed-q30-euclidean.json")].map(
    worked,
  );
  assert.deepEqual(
    rows.map(([step]) => step),
    Object.keys(columns[0]!),
  );
  rows.forEach(([step, ...cells]) => {
    assert.deepEqual(
      cells,
      columns.map((column) => column[step!]),
      step,
    );
  });
});

test("the tutorials' parameters have the sizes and ranges of the pairwise scheme's table", () => {
  for (const [degree, sizes, scale, fresh, resultScale, largest] of table("tutorial").map((row) =>
    row.map(numbers),
  ) as [number[], number[], number[], number[], number[], number[]][]) {
    using modulus = seal.CoeffModulus.Create(degree[0]!, Int32Array.from(sizes));
    const primes = Array.from(seal.jsArrayFromVecModulus(modulus) as BigUint64Array);
    const parameters = { degree: degree[0]!, primes, scale: scale[0]!, encoded: new Uint8Array() };
    assert.deepEqual([[freshCiphertextBytes(parameters)], [2 ** 40]], [fresh, scale]);
    assert.deepEqual(
      [Number(distanceScale(parameters).toPrecision(5)), Number(maxDistance(parameters).toPrecision(5))],
      [resultScale[0], largest[0]],
    );
  }
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleBE(2 ** 40);
  assert.equal(/`([0-9a-f]{16})` for 2\^40/.exec(page)![1], bytes.toString("hex"));
});

test("the limits of the pairwise scheme are the server's", () => {
  const limit = (what: string): string => new RegExp(`^\\| ${what}.*? \\| (.*?) \\|`, "m").exec(page)![1]!;
  assert.equal(
    Number(limit("`Ciphertext.data`, pairwise").split(" ")[0]!.replaceAll(",", "")),
    MAX_PAIRWISE_CIPHERTEXT_BYTES,
  );
  assert.equal(limit("key material").split(",")[0], `${MAX_KEY_BYTES / 2 ** 20} MiB`);
});

/** As the descriptor set has a message: "1 name (type), 2 name (repeated type)". */
function fieldsOf(message: string): string {
  const { type } = contract[`tenseal.${message}`] as unknown as {
    type: { field: { name: string; number: number; label: string; type: string; typeName: string }[] };
  };
  return type.field
    .map(({ name, number, label, type: kind, typeName }) => {
      const typeText = typeName === "" ? kind.replace("TYPE_", "").toLowerCase() : typeName.split(".").at(-1)!;
      return `${number} ${name} (${label === "LABEL_REPEATED" ? "repeated " : ""}${typeText})`;
    })
    .join(", ");
}

test("TenSEAL's messages are those of the descriptor set", () => {
  const rows = table("tenseal") as [string, string][];
  assert.deepEqual(
    rows.map(([message]) => `tenseal.${message}`).sort(),
    Object.keys(contract)
      .filter((name) => /^tenseal\..*Proto$/.test(name))
      .sort(),
  );
  for (const [message, text] of rows) assert.equal(text, fieldsOf(message));
});

/** What the page says of a vector, by the name of its row. */
function worked({
  keyId,
  contextId,
  secretKey,
  stride,
  scales,
  template,
  probe,
  product,
  plainDistance,
}: PackedVector): Record<string, string> {
  const firstValues = (packed: { readonly packedResidues: string }): string =>
    unpack(bytesOf(packed).subarray(0, 15)).join(", ");
  const first = (list: readonly number[]): string => list.slice(0, 3).join(", ");
  const shown = (value: number): string => String(Number(value.toPrecision(12)));
  return {
    "key id begins": keyId.slice(0, 16),
    "context id begins": contextId.slice(0, 16),
    "secret key begins": secretKey.slice(0, 8),
    stride: String(stride),
    "Dt, Dp": [...new Set([shown(scales.template), shown(scales.probe)])].join(", "),
    "template, components 0, 1, 2": first(template.embedding),
    "template, coefficients 0, 1, 2": first(template.coefficients),
    "template, last coefficient": String(template.coefficients.at(-1)),
    "probe, components 0, 1, 2": first(probe.embedding),
    "probe, coefficients s - 1, s - 2, s - 3": first(probe.coefficients.toReversed()),
    "probe, coefficient 0": String(probe.coefficients[0]),
    "template's ciphertext, first 4 values": firstValues(template),
    "the same, packed": bytesOf(template).subarray(0, 15).toString("hex"),
    "probe's ciphertext, first 4 values": firstValues(probe),
    "product, first 4 values": firstValues(product),
    "coefficient s - 1 of the decrypted product": product.coefficients[product.scoreIndex]!,
    "divided by Dt Dp: the score": shown(product.score),
    distance: shown(product.distance),
    "distance without encryption": shown(plainDistance),
  };
}
