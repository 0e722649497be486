// Example clients in other languages, built by their own Makefiles and run against a real server.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { CiphertextEncoding, SearchGalleryRequest } from "@veilface/proto";
import { SearchableGallery, delimited } from "../../../scripts/dev/searchable-gallery.ts";
import { startContractServer, testThatTheLogTellsNothing } from "./contract-suite.ts";
import type { EntryMessage, SearchMessage } from "./gallery-fixture.ts";
import { freshId } from "./gallery-fixture.ts";
import type { IndependentClient } from "./independent-client.ts";
import { STATUS } from "./refusals.ts";
import { watchBytes } from "../leak-watch.ts";

/** A client in another language. */
export interface ForeignClient {
  /** As in "the Go client". */
  readonly name: string;
  /** Below examples/, with its Makefile. */
  readonly folder: string;
  /** Beside OUT. */
  readonly makeArguments: readonly string[];
  /** Commands that end well where the tools are installed. */
  readonly needs: readonly (readonly string[])[];
  /** Debian's packages that bring them. */
  readonly packages: string;
}

/** What a client prints. */
interface Printed {
  readonly version: string;
  readonly galleries: readonly string[];
  readonly subjects: number;
  readonly templates: number;
  readonly changes: number;
  readonly roster_changes: number;
  readonly revision: number;
  readonly blocks: readonly { readonly block: number; readonly stride: number; readonly sha256: string }[];
  readonly refusals: readonly object[];
}

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const ROOT = join(import.meta.dirname, "..", "..", "..");
const PAGE_SIZE = 10;
/** More than a page of them. */
const GALLERIES = PAGE_SIZE + 2;
// What the error of an encrypted distance stays far below: fhe's own tests hold it closer.
const TOLERANCE = 1e-5;

/** Builds a client and runs it; where its tools are missing, that is said loudly and the tests are skipped. */
export async function testForeignClient(foreign: ForeignClient): Promise<void> {
  const { name, folder } = foreign;
  if (!hasTools(foreign)) {
    test(`${name} lists and searches a gallery`, { skip: `not installed: ${foreign.packages}` });
    return;
  }
  const own = await mkdtemp(join(tmpdir(), `veilface-${folder}-`));
  after(() => rm(own, { recursive: true, force: true }));
  const { server, client } = await startContractServer();
  const gallery = await SearchableGallery.create(server.address, freshId("gallery"));
  after(() => {
    gallery[Symbol.dispose]();
  });
  watchBytes(gallery.keyHolder.keyId);
  const probeFile = join(own, "probe.bin");
  await writeFile(probeFile, delimited(gallery.probeMessages()));
  await createEmptyGalleries(client, gallery);
  const search = (galleryId: string, file: string): Promise<Run> =>
    run(join(own, "search"), [server.address, galleryId, file, String(PAGE_SIZE)]);

  test(`${name} is generated and built from the contract as it is, by its Makefile`, async () => {
    const make = ["--silent", "-j2", "-C", join(ROOT, "examples", folder), `OUT=${own}`, ...foreign.makeArguments];
    const { code, stderr } = await run("make", make);
    assert.equal(code, 0, stderr);
  });

  test(`${name} lists a gallery page by page, searches it, and reads the details of refusals`, async () => {
    const { code, stdout, stderr } = await search(gallery.galleryId, probeFile);
    assert.equal(code, 0, stderr);
    for (const list of ["ListSubjects", "ListTemplates", "ListTemplateChanges", "ListGalleries"])
      assert.ok(server.log.split(`/${list}"`).length > 2, `${list} was called for one page only`);
    const { blocks, ...printed } = JSON.parse(stdout) as Printed;
    const { distances, version, galleries } = await searchHere(client, gallery);
    const count = gallery.templates.length;
    assert.deepEqual(printed, {
      version,
      galleries,
      subjects: gallery.subjectIds.size,
      templates: count,
      changes: count,
      roster_changes: count,
      revision: count,
      refusals: [
        { code: STATUS.NOT_FOUND, reason: "GALLERY_NOT_FOUND", domain: "veilface.dev", fields: [] },
        { code: STATUS.INVALID_ARGUMENT, reason: "FIELD_INVALID", domain: "veilface.dev", fields: ["page_size"] },
      ],
    });
    assert.ok(new Set(blocks.map(({ stride }) => stride)).size === 2 && blocks.length > 2, stdout);
    // The same probe gives the same ciphertexts, bit for bit.
    assert.deepEqual(
      blocks,
      distances.map(({ block, stride, ciphertext: { data } }) => ({
        block,
        stride,
        sha256: createHash("sha256").update(data).digest("hex"),
      })),
    );
    await assertPlainDistances(client, gallery, distances);
  });

  test(`${name} says why a server refused, and what is wrong with a probe`, async () => {
    const unknown = await search("there-is-none", probeFile);
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /GALLERY_NOT_FOUND/);
    const text = join(own, "text.bin");
    await writeFile(text, "no probe");
    const noProbe = await search(gallery.galleryId, text);
    assert.equal(noProbe.code, 1);
    assert.match(noProbe.stderr, /text\.bin/);
    const first = join(own, "one-stride.bin");
    const pieces = gallery.probeMessages()[0]!.pieces.slice(0, 1);
    await writeFile(first, delimited([{ pieces }]));
    const incomplete = await search(gallery.galleryId, first);
    assert.equal(incomplete.code, 1);
    assert.match(incomplete.stderr, /stride \d+, at which the file has no probe/);
  });

  testThatTheLogTellsNothing(server);
}

/** Whether every command that a client needs is there; said on stderr where one is not. */
function hasTools({ name, needs, packages }: ForeignClient): boolean {
  const missing = needs.filter(([command, ...args]) => {
    try {
      execFileSync(command!, args, { stdio: "ignore" });
      return false;
    } catch {
      return true;
    }
  });
  if (missing.length === 0) return true;
  const failed = missing.map((command) => `\`${command.join(" ")}\``).join(", ");
  process.stderr.write(`\nSKIPPED: ${name} is not tested: ${failed} failed. Install it (apt install ${packages}).\n\n`);
  return false;
}

async function createEmptyGalleries(client: IndependentClient, { galleryId, keyHolder }: SearchableGallery) {
  const [described] = await client.call<{ gallery: { space: object } }>("GalleryService/GetGallery", {
    gallery_id: galleryId,
  });
  const { space } = described!.gallery;
  for (let i = 1; i < GALLERIES; i++) {
    const gallery = { gallery_id: freshId("empty"), context_id: keyHolder.contextId, space };
    await client.call("GalleryService/CreateGallery", { gallery });
  }
}

type Distances = NonNullable<SearchMessage["distances"]>;

/** The same in TypeScript, with no code of the client's. */
async function searchHere(
  client: IndependentClient,
  gallery: SearchableGallery,
): Promise<{ version: string; galleries: string[]; distances: Distances[] }> {
  const { galleryId } = gallery;
  const [info] = await client.call<{ server_info: { version: string } }>("ServerService/GetServerInfo", {});
  const [page] = await client.call<{ galleries: { gallery_id: string }[] }>("GalleryService/ListGalleries", {});
  const target = { galleryId, space: undefined, replyEncoding: PACKED, probes: 1, roster: undefined };
  const messages: SearchGalleryRequest["message"][] = [
    { $case: "target", value: target },
    ...gallery.probeMessages().map((value) => ({ $case: "pieces" as const, value })),
  ];
  const requests = messages.map((message) => Buffer.from(SearchGalleryRequest.encode({ message }).finish()));
  const answers = (await client.callRaw("MatchingService/SearchGallery", ...requests)) as unknown as SearchMessage[];
  const distances = answers.flatMap((answer) => answer.distances ?? []).sort((a, b) => a.block - b.block);
  return {
    version: info!.server_info.version,
    galleries: page!.galleries.map(({ gallery_id }) => gallery_id),
    distances,
  };
}

const PACKED = CiphertextEncoding.CIPHERTEXT_ENCODING_PACKED_RESIDUES;

/** Decrypts every block, and holds every template's distance to the plain one. */
async function assertPlainDistances(
  client: IndependentClient,
  gallery: SearchableGallery,
  distances: readonly Distances[],
): Promise<void> {
  const { galleryId, crypto, probe } = gallery;
  const [roster] = await client.call<{ entries: EntryMessage[] }>("GalleryService/ListTemplates", {
    gallery_id: galleryId,
  });
  const entries = roster!.entries;
  assert.equal(entries.length, gallery.templates.length);
  const blocks = new Map(
    distances.map(({ block, stride, ciphertext: { data } }) => {
      const product = { encoding: "PACKED_RESIDUES", data } as const;
      return [block, crypto.decryptDistances(stride, product, probe.squaredNorm)] as const;
    }),
  );
  for (const { template_id, placement } of entries) {
    const found = blocks.get(placement!.block)![placement!.slot]!;
    const off = Math.abs(found - gallery.plainDistance(template_id));
    assert.ok(off < TOLERANCE, `${template_id} is off by ${off}`);
  }
}

async function run(command: string, args: readonly string[]): Promise<Run> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  const printed = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (printed.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (printed.stderr += text));
  return new Promise((resolve, reject) => {
    child.on("error", reject).on("close", (code) => {
      resolve({ code, ...printed });
    });
  });
}
