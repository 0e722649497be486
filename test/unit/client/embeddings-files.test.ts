import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { readEmbeddings } from "../../../client/embeddings/read-embeddings.ts";
import type { ReadEmbeddingsOptions } from "../../../client/embeddings/read-embeddings.ts";
import type { Enrollment } from "../../../client/enroll/unit-maker.ts";
import { ClientError } from "../../../client/errors.ts";

const folder = await mkdtemp(join(tmpdir(), "veilface-embeddings-"));
after(() => rm(folder, { recursive: true, force: true }));

/** Writes a file and reads it as embeddings. */
async function read(
  name: string,
  content: string | Uint8Array,
  options: ReadEmbeddingsOptions = {},
): Promise<{ templateId: string; subjectId: string; embedding: number[] }[]> {
  const path = join(folder, name);
  await writeFile(path, content);
  const rows: Enrollment[] = [];
  for await (const row of readEmbeddings(path, options)) rows.push(row);
  return rows.map((row) => ({ ...row, embedding: [...Float64Array.from(row.embedding)] }));
}

/** That reading is refused, with the file's name and these words. */
async function assertRefused(
  says: RegExp,
  name: string,
  content: string | Uint8Array,
  options: ReadEmbeddingsOptions = {},
): Promise<void> {
  await assert.rejects(read(name, content, options), (error) => {
    assert.ok(error instanceof ClientError, String(error));
    assert.equal(error.reason, "EMBEDDINGS_FILE_INVALID");
    assert.match(error.message, says);
    return true;
  });
}

const WRITERS = {
  "<f4": (view: DataView, at: number, x: number): void => {
    view.setFloat32(at, x, true);
  },
  "<f8": (view: DataView, at: number, x: number): void => {
    view.setFloat64(at, x, true);
  },
} as const;

/** A .npy file as NEP 1 describes it. */
function npy(
  rows: readonly (readonly number[])[],
  { descr = "<f4", version = 1, header }: { descr?: "<f4" | "<f8"; version?: 1 | 2 | 3; header?: string } = {},
): Uint8Array {
  const shape = `(${rows.length}, ${rows[0]?.length ?? 4})`;
  const text = header ?? `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`;
  const lengthBytes = version === 1 ? 2 : 4;
  const padded = `${text.padEnd(Math.ceil((text.length + 9 + lengthBytes) / 64) * 64 - 9 - lengthBytes)}\n`;
  const head = Buffer.concat([
    Buffer.from("\x93NUMPY", "latin1"),
    Buffer.from([version, 0]),
    Buffer.alloc(lengthBytes),
    Buffer.from(padded),
  ]);
  if (version === 1) head.writeUInt16LE(padded.length, 8);
  else head.writeUInt32LE(padded.length, 8);
  const numbers = rows.flat();
  const size = descr === "<f4" ? 4 : 8;
  const data = new DataView(new ArrayBuffer(numbers.length * size));
  numbers.forEach((x, i) => {
    WRITERS[descr](data, i * size, x);
  });
  return Buffer.concat([head, new Uint8Array(data.buffer)]);
}

// Without -0, which is written as "0".
const component = fc.double({ min: -1e6, max: 1e6, noNaN: true }).map((x) => x + 0);
const id = fc.stringMatching(/^[a-z0-9-]{1,12}$/);
const table = fc.integer({ min: 1, max: 6 }).chain((dimension) =>
  fc.array(
    fc.record(
      {
        templateId: id,
        subjectId: id,
        embedding: fc.array(component, { minLength: dimension, maxLength: dimension }),
      },
      { noNullPrototype: true },
    ),
    { minLength: 1, maxLength: 20 },
  ),
);

test("a .npy file of any shape, float type and version reads back as it was written, rows numbered from 1", async () => {
  await fc.assert(
    fc.asyncProperty(
      table,
      fc.constantFrom("<f4" as const, "<f8" as const),
      fc.constantFrom(1 as const, 2 as const, 3 as const),
      async (rows, descr, version) => {
        const embeddings = rows.map(({ embedding }) => (descr === "<f4" ? embedding.map(Math.fround) : embedding));
        const expected = embeddings.map((embedding, i) => ({
          templateId: `row-${String(i + 1).padStart(7, "0")}`,
          subjectId: `row-${String(i + 1).padStart(7, "0")}`,
          embedding,
        }));
        assert.deepEqual(await read("any.npy", npy(embeddings, { descr, version })), expected);
      },
    ),
    { numRuns: 60 },
  );
});

test("every finite half-precision number is read exactly", async () => {
  const rows = 64;
  const bits = Uint16Array.from({ length: 65_536 }, (_, i) => i).filter((i) => (i & 0x7c00) !== 0x7c00);
  const dimension = bits.length / rows;
  const head = npy([], { header: `{'descr': '<f2', 'fortran_order': False, 'shape': (${rows}, ${dimension}), }` });
  const values = (await read("half.npy", Buffer.concat([head, new Uint8Array(bits.buffer)]))).flatMap(
    ({ embedding }) => embedding,
  );
  // binary16 by its definition: sign, 5 bits of exponent with bias 15, 10 bits of fraction.
  const expected = Array.from(bits, (x) => {
    const [sign, exponent, fraction] = [x >> 15 ? -1 : 1, (x >> 10) & 31, x & 1023];
    return sign * (exponent === 0 ? fraction / 1024 / 2 ** 14 : (1 + fraction / 1024) * 2 ** (exponent - 15));
  });
  assert.deepEqual(values, expected);
});

test("rows of a .npy file take their names from a file, with or without template ids", async () => {
  const names = join(folder, "names.txt");
  await writeFile(names, "t-1,ada\r\nbob\nt-3,ada");
  const rows = await read(
    "named.npy",
    npy([
      [1, 2],
      [3, 4],
      [5, 6],
    ]),
    { ids: names },
  );
  assert.deepEqual(
    rows.map(({ templateId, subjectId }) => [templateId, subjectId]),
    [
      ["t-1", "ada"],
      ["row-0000002", "bob"],
      ["t-3", "ada"],
    ],
  );
  const cases: [string, RegExp][] = [
    ["ada\nbob\n", /2 lines: expected one for each of 3/],
    ["a\nb\nc\nd\n", /line 4 is one too many/],
    ["a\nB\nc", /line 2: subject id "B"/],
    ["a,b,c\nb\nc", /line 1 has 3 fields/],
  ];
  for (const [content, says] of cases) {
    await writeFile(names, content);
    await assertRefused(
      says,
      "named.npy",
      npy([
        [1, 2],
        [3, 4],
        [5, 6],
      ]),
      { ids: names },
    );
  }
});

test("a .npy file that is not a whole plain array of finite rows is refused, naming the row", async () => {
  const good = npy([
    [1, 2, 3],
    [4, 5, 6],
  ]);
  const cases: [RegExp, Uint8Array][] = [
    [/does not start as/, Buffer.from("id,1,2,3\n")],
    [/does not start as/, Buffer.alloc(0)],
    [/version/, good.with(6, 4)],
    [/ends in row 2 of 2/, good.subarray(0, good.length - 1)],
    [/ends in row 1 of 2/, good.subarray(0, good.length - 13)],
    [/something follows/, Buffer.concat([good, Buffer.from([0])])],
    [/ends within its header/, good.subarray(0, 40)],
    [/header has \d+ bytes/, good.with(9, 255)],
    [
      /row 2: component 3/,
      npy([
        [1, 2, 3],
        [4, 5, NaN],
      ]),
    ],
    [/row 1: component 1/, npy([[Infinity, 2, 3]], { descr: "<f8" })],
    ...[
      "{'descr': '>f4', 'fortran_order': False, 'shape': (1, 3), }",
      "{'descr': '|O', 'fortran_order': False, 'shape': (1, 3), }",
    ].map((header): [RegExp, Uint8Array] => [/of type/, npy([], { header })]),
    [/Fortran order/, npy([], { header: "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 3), }" })],
    [/1 dimensions: expected two/, npy([], { header: "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }" })],
    [
      /3 dimensions: expected two/,
      npy([], { header: "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3, 3), }" }),
    ],
    [/expected 1 to 2048/, npy([], { header: "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0), }" })],
    [
      /expected 1 to 2048/,
      npy([], { header: "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3), }" }),
    ],
    [/plain array/, npy([], { header: "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3), 'x': 1, }" })],
    [
      /plain array|another kind/,
      npy([], { header: "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 3), }" }),
    ],
    [/another kind/, npy([], { header: "{'descr': '<f4', 'descr': '<f4', 'shape': (1, 3), }" })],
    [/another kind/, npy([], { header: "{'descr': '<f4', 'fortran_order': (1,), 'shape': (1, 3), }" })],
  ];
  for (const [says, bytes] of cases) await assertRefused(says, "bad.npy", bytes);
  await assertRefused(/have 3 components: expected 4/, "good.npy", good, { dimension: 4 });
});

test("a .npy file with any one bit flipped in its header is read as something consistent or refused, never misread silently", async () => {
  const good = npy([
    [1, 2],
    [3, 4],
  ]);
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: 8 * 128 - 1 }), async (bit) => {
      const flipped = good.with(bit >> 3, good[bit >> 3]! ^ (1 << (bit & 7)));
      const rows = await read("flipped.npy", flipped).catch((error: unknown) => {
        assert.ok(error instanceof ClientError, String(error));
        return undefined;
      });
      if (rows !== undefined)
        assert.equal(
          rows.reduce((sum, { embedding }) => sum + embedding.length, 0),
          4,
        );
    }),
  );
});

test("CSV and JSON lines read back what was written, with and without headers, subjects, quotes and either line end", async () => {
  await fc.assert(
    fc.asyncProperty(
      table,
      fc.boolean(),
      fc.boolean(),
      fc.constantFrom("\n", "\r\n"),
      fc.boolean(),
      async (rows, header, quotes, end, subjects) => {
        const dimension = rows[0]!.embedding.length;
        const expected = rows.map((row) => (subjects ? row : { ...row, subjectId: row.templateId }));
        const quoted = (text: string): string => (quotes ? `"${text}"` : text);
        const names = ["id", ...(subjects ? ["subject"] : []), ...Array.from({ length: dimension }, (_, k) => `e${k}`)]
          .map(quoted)
          .join(",");
        const lines = rows.map(({ templateId, subjectId, embedding }) =>
          [quoted(templateId), ...(subjects ? [quoted(subjectId)] : []), ...embedding].join(","),
        );
        const csv = [...(header ? [names] : []), ...lines].join(end);
        assert.deepEqual(await read("any.csv", csv, header ? {} : { dimension }), expected);
        const jsonl =
          rows.map(({ subjectId, ...row }) => JSON.stringify(subjects ? { ...row, subjectId } : row)).join(end) + end;
        assert.deepEqual(await read("any.jsonl", jsonl), expected);
      },
    ),
    { numRuns: 60 },
  );
});

test("without a header the second column is the subject where it is no number", async () => {
  assert.deepEqual(await read("a.csv", "\ufefft-1,ada,1,2\n\nt-2,bob,3,4\n"), [
    { templateId: "t-1", subjectId: "ada", embedding: [1, 2] },
    { templateId: "t-2", subjectId: "bob", embedding: [3, 4] },
  ]);
  assert.deepEqual(await read("b.csv", "t-1,.5,-2e1\n"), [
    { templateId: "t-1", subjectId: "t-1", embedding: [0.5, -20] },
  ]);
  assert.deepEqual(await read("c.jsonl", '{"embedding":[1]}\n\n{"embedding":[2]}'), [
    { templateId: "row-0000001", subjectId: "row-0000001", embedding: [1] },
    { templateId: "row-0000003", subjectId: "row-0000003", embedding: [2] },
  ]);
});

test("a text file that is not rows of as many finite numbers is refused, naming the line", async () => {
  const cases: [string, string, RegExp, ReadEmbeddingsOptions?][] = [
    ["x.csv", "a,1,2\nb,1\n", /line 2 has 1 components: expected 2/],
    ["x.csv", "a,1,2\nb,1,NaN\n", /line 2 component 2 is not a finite number/],
    ["x.csv", "a,1,2\nb,1,\n", /line 2 component 2/],
    ["x.csv", "a,1,2\nb,0x1,2\n", /line 2 component 1/],
    ["x.csv", "a,1,2\nb,1e999,2\n", /line 2 component 1/],
    ["x.csv", "a;1;2\n", /line 1 neither/],
    ["x.csv", "name,e0\n", /line 1 neither/],
    ["x.csv", "id\n", /line 1 has no components/],
    ["x.csv", "A,1,2\n", /line 1: template id "A"/],
    ["x.csv", "id,subject,x\na,No Id,1\n", /line 2: subject id/],
    ["x.csv", "a,1,2\n", /line 1 has 2 components: expected 3/, { dimension: 3 }],
    ["x.csv", `a,${"1".repeat(300_000)}`, /line 1 is longer/],
    ["x.csv", `a,1\nb,${"1".repeat(700_000)}\n`, /line 2 is longer/],
    ["x.jsonl", "[1,2]\n", /line 1 is not a JSON object/],
    ["x.jsonl", '{"embedding":[1]}\n{"embedding":[1]\n', /line 2 is not JSON/],
    ["x.jsonl", '{"embedding":[1]}\n{"embedding":[1,2]}\n', /line 2 has 2 components: expected 1/],
    ["x.jsonl", '{"embedding":[1,null]}\n', /line 1: component 2/],
    ["x.jsonl", '{"embedding":[1,"2"]}\n', /line 1: component 2/],
    ["x.jsonl", '{"embedding":[]}\n', /line 1 has no "embedding"/],
    ["x.jsonl", '{"template_id":"a","embedding":[1]}\n', /line 1 has a key "template_id"/],
    ["x.jsonl", '{"templateId":7,"embedding":[1]}\n', /line 1: its template id is not a string/],
    ["x.jsonl", '{"subjectId":"Ada","embedding":[1]}\n', /line 1: subject id/],
  ];
  for (const [name, content, says, options] of cases) await assertRefused(says, name, content, options);
});

test("a file of an unknown kind, one that is not there, and ids for a file with its own are wrong usage", async () => {
  const isUsage = (error: unknown): boolean => error instanceof ClientError && error.reason === "USAGE";
  await assert.rejects(read("x.txt", "a,1"), isUsage);
  await assert.rejects(read("x.csv", "a,1", { ids: join(folder, "x.csv") }), isUsage);
  await assert.rejects(readEmbeddings(join(folder, "none.npy")).next(), isUsage);
});

test("the fraction read grows to 1, and a file of many chunks loses no row at their borders", async () => {
  const fractions: number[] = [];
  const lines = Array.from({ length: 60_000 }, (_, i) => `t-${i},${i % 97},${i % 89}`);
  const rows = await read("long.csv", lines.join("\n"), { onRead: (fraction) => fractions.push(fraction) });
  assert.deepEqual(
    rows.map(({ templateId, embedding }) => `${templateId},${embedding.join(",")}`),
    lines,
  );
  assert.equal(fractions.at(-1), 1);
  assert.deepEqual(
    fractions,
    fractions.toSorted((a, b) => a - b),
  );
});

const RANGE = Array.from({ length: 8 }, (_, k) => k);
const ROW = RANGE.map((k) => k / 8 - 0.3);
const NUMBERED = (word: string, from = 0): string => RANGE.map((k) => `${word}${k + from}`).join(",");

test("a first line of names is a header, however pandas, R or a spreadsheet names the components", async () => {
  const cases: [header: string, ids: string, expected: [string, string]][] = [
    ["id," + NUMBERED(""), "t-1", ["t-1", "t-1"]],
    ["id,subject," + NUMBERED(""), "t-1,ada", ["t-1", "ada"]],
    ["subject,id," + NUMBERED(""), "ada,t-1", ["t-1", "ada"]],
    ["," + NUMBERED(""), "7", ["7", "7"]],
    [",id," + NUMBERED(""), "0,t-1", ["t-1", "t-1"]],
    ["Unnamed: 0,template_id,subject_id," + NUMBERED("e"), "0,t-1,ada", ["t-1", "ada"]],
    ["id," + RANGE.map((k) => `${k}.0`).join(","), "t-1", ["t-1", "t-1"]],
    ["id," + NUMBERED("", 1), "t-1", ["t-1", "t-1"]],
    ['"id",' + NUMBERED("V", 1), '"t-1"', ["t-1", "t-1"]],
    ["\ufeffID," + NUMBERED("embedding_"), "t-1", ["t-1", "t-1"]],
    ["subject," + NUMBERED("x", 1), "ada", ["row-0000001", "ada"]],
  ];
  for (const [header, ids, [templateId, subjectId]] of cases) {
    for (const dimension of [undefined, 8]) {
      const rows = await read(
        "header.csv",
        `${header}\r\n${ids},${ROW.join(",")}\r\n`,
        dimension === undefined ? {} : { dimension },
      );
      assert.deepEqual(rows, [{ templateId, subjectId, embedding: ROW }], header);
    }
  }
});

test("components under a header may come without ids, or before them", async () => {
  const rows = `${ROW.join(",")}\n${ROW.join(",")}\n`;
  for (const header of [NUMBERED(""), NUMBERED("e")]) {
    assert.deepEqual(
      (await read("numbered.csv", `${header}\n${rows}`)).map(({ templateId }) => templateId),
      ["row-0000001", "row-0000002"],
    );
  }
  assert.deepEqual(await read("last.csv", `${NUMBERED("")},id\n${ROW.join(",")},ada\n`), [
    { templateId: "ada", subjectId: "ada", embedding: ROW },
  ]);
});

test("a list in one quoted field is an embedding, as pgvector writes it", async () => {
  const expected = [{ templateId: "1", subjectId: "1", embedding: ROW }];
  assert.deepEqual(await read("list.csv", `id,embedding\n1,"[${ROW.join(",")}]"\n`, { dimension: 8 }), expected);
  assert.deepEqual(await read("list.csv", `1,"[${ROW.join(", ")}]"\n`), expected);
  await assertRefused(/line 3 has 2 components: expected 3/, "list.csv", 'id,embedding\na,"[1,2,3]"\nb,"[1,2]"\n');
});

test("no word of a header is enrolled, whatever the ids and components are called", async () => {
  const words = fc.constantFrom(
    "id",
    "ID",
    "subject",
    "template_id",
    "",
    "index",
    "Unnamed: 0",
    "name",
    "person",
    "label",
    "embedding",
    "filename",
  );
  const styles = fc.constantFrom(
    (k: number) => `${k}`,
    (k: number) => `${k + 1}`,
    (k: number) => `${k}.0`,
    (k: number) => `e${k}`,
    (k: number) => `x_${k + 1}`,
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(words, { minLength: 0, maxLength: 3 }),
      styles,
      fc.integer({ min: 8, max: 40 }),
      fc.boolean(),
      async (names, style, dimension, quotes) => {
        const columns = [...names, ...Array.from({ length: dimension }, (_, k) => style(k))];
        const line = columns.map((name) => (quotes ? `"${name}"` : name)).join(",");
        const data = [
          ...names.map((_, i) => `p-${i}`),
          ...Array.from({ length: dimension }, (_, k) => Math.sin(k)),
        ].join(",");
        const rows = await read("any-header.csv", `${line}\n${data}\n`, { dimension }).catch((error: unknown) => {
          assert.ok(error instanceof ClientError && error.reason === "EMBEDDINGS_FILE_INVALID", String(error));
          return [];
        });
        assert.ok(rows.length <= 1, "the first line is no row");
        for (const row of rows)
          assert.deepEqual(
            row.embedding,
            Array.from({ length: dimension }, (_, k) => Math.sin(k)),
          );
      },
    ),
  );
});

test("quotes are read as RFC 4180 has them", async () => {
  assert.deepEqual(await read("q.csv", 'id,subject,e0,e1\n"t-1","ada","1","-2"\n'), [
    { templateId: "t-1", subjectId: "ada", embedding: [1, -2] },
  ]);
  await assertRefused(/line 2: template id "a,b"/, "q.csv", 'id,e0,e1\n"a,b",1,2\n');
  await assertRefused(/line 2: template id "a\\"b"/, "q.csv", 'id,e0,e1\n"a""b",1,2\n');
  for (const line of ['"a,1,2', 'a,"1"x,2', '"a\nb",1,2'])
    await assertRefused(/line 2: its quotes do not match/, "q.csv", `id,e0,e1\n${line}\n`);
});

test("other tables are refused with what to do, and no number of theirs is shown", async () => {
  const row = `p-1,${ROW.join(",")}`;
  const cases: [RegExp, string | Uint8Array][] = [
    [/separated by something else/, `${row.replaceAll(",", ";")}\n`],
    [/separated by something else/, `${row.replaceAll(".", ",").replaceAll(",", ";")}\r\n`],
    [/separated by something else/, `${row.replaceAll(",", "\t")}\n`],
    [/line 1 neither.*column 2/, `id,name,age,${NUMBERED("e")}\np-1,x,30,${ROW.join(",")}\n`],
    [/line 1 neither.*column 1/, `name,${NUMBERED("e")}\n${row}\n`],
    [/line 1 neither.*column 1/, `person,${NUMBERED("")}\n${row}\n`],
    [/names columns 1 and 2 alike/, `id,template,${NUMBERED("e")}\np,q,${ROW.join(",")}\n`],
    [/side by side/, `e0,e1,e2,id,e3,e4,e5,e6,e7\n`],
    [/line 1 has 9 components: expected 8/, `${row},\n`],
    [/line 1 component 8 is not a finite/, `${row.replace(/[^,]*$/, "nan")}\n`],
    [/line 1 component 1 is not a finite/, `p-1,inf,${ROW.slice(1).join(",")}\n`],
    [/line 2 component 4 is empty/, `${row}\n${row.split(",").with(4, "").join(",")}\n`],
    [/byte 0 or a lone \\r: save the file as UTF-8/, Buffer.from(`\ufeff${row}\r\n`, "utf16le")],
    [/byte 0 or a lone \\r/, `${row}\r${row}\r`],
    [/it has no embeddings/, ""],
    [/it has no embeddings/, `id,${NUMBERED("e")}\n`],
  ];
  for (const [says, content] of cases) {
    await assertRefused(says, "odd.csv", content, { dimension: 8 });
    await assertRefused(/^(?!.*0\.3)/, "odd.csv", content, { dimension: 8 });
  }
  await assertRefused(/JSON has no NaN/, "nan.jsonl", '{"embedding":[1,NaN]}\n');
  await assertRefused(
    /it has no embeddings/,
    "none.npy",
    npy([], { header: "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 8), }" }),
  );
});
