import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ServerError } from "../../../server/errors.ts";
import { PageTokens, pageSize } from "../../../server/requests/page-token.ts";

const refusedOf =
  (field: string) =>
  (error: unknown): boolean =>
    error instanceof ServerError &&
    error.reason === "FIELD_INVALID" &&
    error.violations.map((violation) => violation.field).join() === field;
const isRefused = refusedOf("page_token");

const asked = fc.array(fc.string({ maxLength: 8 }), { maxLength: 3 });
/** The ids that listings go by: of galleries and of contexts. */
const id = fc.stringMatching(/^[a-z0-9-]{1,64}$/);
/** Those after which the store can look for changes. */
const revision = fc.integer({ min: 0, max: 2 ** 48 - 2 });

test("a token says where the next page begins to the listing that it is of, and is refused by every other", () => {
  fc.assert(
    fc.property(asked, asked, id, (mine, others, last) => {
      const token = new PageTokens(...mine).write(last);
      assert.match(token, /^[A-Za-z0-9_-]+$/);
      assert.equal(new PageTokens(...mine).read(token), last);
      const isSame = JSON.stringify(mine) === JSON.stringify(others);
      if (!isSame) assert.throws(() => new PageTokens(...others).read(token), isRefused);
    }),
  );
});

test("parameters that run into one another are other parameters", () => {
  const token = new PageTokens("List", "ab", "c").write("x");
  for (const other of [
    ["List", "a", "bc"],
    ["List", "abc"],
    ["List", "ab", "c", ""],
    ["Listab", "c"],
  ])
    assert.throws(() => new PageTokens(...other).read(token), isRefused);
});

test("a token of a revision is read as that revision, and one of something else is refused where a revision is meant", () => {
  fc.assert(
    fc.property(asked, revision, (mine, last) => {
      const tokens = new PageTokens(...mine);
      assert.equal(tokens.readRevision(tokens.write(last)), last);
    }),
  );
  const tokens = new PageTokens("ListTemplates", "g");
  for (const beyond of [2 ** 48 - 1, 2 ** 48, 999_999_999_999_999])
    assert.equal(
      tokens.readRevision(tokens.write(beyond)),
      2 ** 48 - 2,
      "nothing comes after the last one there can be",
    );
  for (const wrong of ["staff", "-1", "1.5", "1e3", " 1", "1 ", "0x10", "Infinity", "9".repeat(16)])
    assert.throws(() => tokens.readRevision(tokens.write(wrong)), isRefused, wrong);
});

test("the first page has no token, and the last page gives none", () => {
  const tokens = new PageTokens("List");
  assert.equal(tokens.read(""), undefined);
  assert.equal(tokens.readRevision(""), undefined);
  for (const nothing of [undefined, ""]) assert.equal(tokens.write(nothing), "");
});

test("what is no token at all is refused", () => {
  const tokens = new PageTokens("List");
  const good = tokens.write("x");
  const bare = good.slice(0, 11);
  const bad = ["x", "staff", bare, `${good}=`, ` ${good}`, `${good}\n`, good.replaceAll(/./g, "A"), "é".repeat(20)];
  for (const token of [...bad, `${good}${"A".repeat(256)}`, "A".repeat(2 ** 20)])
    assert.throws(() => tokens.read(token), isRefused, token.slice(0, 40));
  fc.assert(
    fc.property(fc.string({ minLength: 1, maxLength: 40 }), (token) => {
      assert.throws(() => tokens.read(token), isRefused);
    }),
  );
});

test("a page size is what was asked for, the usual one for 0, and never more than the most", () => {
  fc.assert(
    fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }), (value) => {
      const size = (): number => pageSize(value, { most: 1000, usual: 100 });
      if (value < 0) assert.throws(size, refusedOf("page_size"));
      else assert.equal(size(), value === 0 ? 100 : Math.min(value, 1000));
    }),
  );
});
