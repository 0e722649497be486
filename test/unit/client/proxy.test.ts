import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isLoopback, isMeantLocally, proxyFor } from "../../../client/remote/proxy.ts";

const LOOPBACK = [
  "localhost",
  "LocalHost",
  "localhost.",
  "127.0.0.1",
  "127.255.1.2",
  "127.1",
  "127.0.1",
  "0x7f.0.0.1",
  "2130706433",
  "0177.0.0.1",
  "::1",
  "0:0:0:0:0:0:0:1",
  "::ffff:127.0.0.1",
  "::FFFF:7f00:1",
  "0:0:0:0:0:ffff:127.8.8.8",
  "0.0.0.0",
  "::",
];
const ELSEWHERE = [
  "10.0.0.1",
  "126.255.255.255",
  "128.0.0.1",
  "::2",
  "::ffff:10.0.0.1",
  "fe80::1",
  "localhost.example",
  "notlocalhost",
  "127.0.0.1.example",
];

test("this machine is known in every spelling, and nothing else is", () => {
  for (const host of LOOPBACK) assert.ok(isLoopback(host) && isMeantLocally(host), host);
  for (const host of ELSEWHERE) assert.ok(!isLoopback(host) && !isMeantLocally(host), host);
  for (const host of ["a.localhost", "b.a.LOCALHOST."]) assert.ok(!isLoopback(host) && isMeantLocally(host), host);
});

test("no spelling of any address makes a proxy of this machine's, or throws", () => {
  const number = fc.nat({ max: 2 ** 24 - 1 }).map((low) => 127 * 2 ** 24 + low);
  const spelling = fc.constantFrom(
    ...[
      (n: number) => String(n),
      (n: number) => `0x${n.toString(16)}`,
      (n: number) => `127.${n % 2 ** 24}`,
      (n: number) => [24, 16, 8, 0].map((bits) => (n >>> bits) & 255).join("."),
      (n: number) => `::ffff:${(n >>> 16).toString(16)}:${(n & 65_535).toString(16)}`,
    ],
  );
  fc.assert(
    fc.property(number, spelling, (n, spell) => proxyFor(spell(n), { http_proxy: "http://proxy" }) === undefined),
  );
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.string(), (host, proxy, list) => {
      proxyFor(host, { http_proxy: proxy, no_proxy: list });
    }),
  );
});

const CASES: readonly (readonly [Record<string, string>, string | undefined])[] = [
  [{}, undefined],
  [{ http_proxy: "http://h:3128" }, "http_proxy h:3128"],
  [{ http_proxy: "http://h" }, "http_proxy h:80"],
  [{ http_proxy: "http://user:secret@h:3128/path" }, "http_proxy h:3128"],
  [{ http_proxy: "http://a:1", https_proxy: "http://b:2" }, "https_proxy b:2"],
  [{ http_proxy: "http://a:1", https_proxy: "http://b:2", grpc_proxy: "http://[::1]:3" }, "grpc_proxy [::1]:3"],
  [{ grpc_proxy: "", http_proxy: "http://a:1" }, "http_proxy a:1"],
  // These grpc-js passes over, and connects without.
  [{ http_proxy: "https://h:3128" }, undefined],
  [{ http_proxy: "h:3128" }, undefined],
  [{ HTTP_PROXY: "http://h:3128" }, undefined],
  [{ http_proxy: "http://h", no_proxy: "other.example" }, "http_proxy h:80"],
  [{ http_proxy: "http://h", no_proxy: "other.example, .veilface.example" }, undefined],
  [{ http_proxy: "http://h", no_proxy: "*" }, undefined],
  [{ http_proxy: "http://h", no_grpc_proxy: "other.example", no_proxy: "matcher.veilface.example" }, "http_proxy h:80"],
  [{ http_proxy: "http://h", no_grpc_proxy: "matcher.veilface.example" }, undefined],
];

test("the proxy is the one that gRPC takes, named without its credentials", () => {
  for (const [environment, expected] of CASES) {
    const proxy = proxyFor("matcher.veilface.example", environment);
    assert.equal(proxy && `${proxy.variable} ${proxy.address}`, expected, JSON.stringify(environment));
  }
  for (const [list, isPast] of [
    ["10.0.0.0/8", true],
    ["10.1.2.3", true],
    ["11.0.0.0/8", false],
    ["10.1.2.0/33", false],
    ["10.1.2.3/x", false],
  ] as const) {
    assert.equal(proxyFor("10.1.2.3", { http_proxy: "http://h", no_proxy: list }) === undefined, isPast, list);
  }
});
