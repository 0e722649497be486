// From photos to decisions on ciphertexts only, against a real server in a process of its own. Exits 0 only if every
// decision is right and every encrypted distance is within 1e-5 of the plain one.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import {
  ClientError,
  KeyHolder,
  VeilfaceClient,
  identificationThresholdOf,
  plainDistance,
  spaceOf,
  thresholdOf,
} from "@veilface/client";
import { FaceEncoder, loadDefaultModelPack } from "@veilface/face";
import { readPhoto } from "../scripts/dev/photos.ts";
import type { PEOPLE } from "../scripts/dev/photos.ts";
import { ServerProcess } from "../scripts/dev/server-process.ts";
import { ByteCounter } from "../scripts/dev/byte-counter.ts";
import { printTable } from "../scripts/dev/table.ts";
import { ciphersOf } from "@veilface/client/advanced";

type Person = keyof typeof PEOPLE;

const GALLERY = "demo";
const MAX_DIFFERENCE = 1e-5;
const DELETED: Person = "connery";
/** Everybody but the queen, who stays a stranger. */
const ENROLLED: Record<Exclude<Person, "queen">, string[]> = {
  franck: ["franck_01829.jpg", "franck_02683.jpg"],
  cage: ["cage.jpg"],
  bieber: ["Justin-Bieber2_crop.jpg"],
  connery: ["SeanConnery.jpg"],
  hepburn: ["audrey.jpg"],
  obama: ["obama4_crop.jpg"],
  norris: ["chuck_crop.jpg"],
  clooney: ["fragrance-George-Clooney-main_crop.jpg"],
  murray: ["bill-murray-snl_crop.jpg"],
};
/** Whom each photo is claimed to show, and whether that is true. */
const CLAIMS: { photo: string; claimed: keyof typeof ENROLLED; genuine: boolean }[] = [
  { photo: "franck_03979.jpg", claimed: "franck", genuine: true },
  { photo: "franck_04117.jpg", claimed: "franck", genuine: true },
  { photo: "cage2_crop.jpg", claimed: "cage", genuine: true },
  { photo: "bieber_small.jpg", claimed: "bieber", genuine: true },
  { photo: "sean_guru2_crop.jpg", claimed: "connery", genuine: true },
  { photo: "audrey_crop.jpg", claimed: "hepburn", genuine: true },
  { photo: "audrey_crop.jpg", claimed: "cage", genuine: false },
  { photo: "bieber_small.jpg", claimed: "franck", genuine: false },
  { photo: "sean_guru2_crop.jpg", claimed: "hepburn", genuine: false },
  { photo: "franck_03979.jpg", claimed: "norris", genuine: false },
  { photo: "cage2_crop.jpg", claimed: "murray", genuine: false },
  { photo: "queen20_crop.jpg", claimed: "hepburn", genuine: false },
];
const PROBES: { photo: string; person: keyof typeof ENROLLED | undefined }[] = [
  { photo: "franck_02045.jpg", person: "franck" },
  { photo: "cage2_crop.jpg", person: "cage" },
  { photo: "bieber_small.jpg", person: "bieber" },
  { photo: "sean_guru2_crop.jpg", person: "connery" },
  { photo: "audrey_crop.jpg", person: "hepburn" },
  { photo: "queen20_crop.jpg", person: undefined },
];

const failures: string[] = [];
const stages = new Map<string, number[]>();

function expect(condition: boolean, what: string): void {
  if (!condition) failures.push(what);
}

async function timed<T>(stage: string, run: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await run();
  const times = stages.get(stage) ?? [];
  times.push(performance.now() - start);
  stages.set(stage, times);
  return result;
}

await using server = await ServerProcess.start();
using wire = await ByteCounter.open(() => server.address);
using keyHolder = await timed("make a key", () => KeyHolder.create());
const pack = await timed("load the model pack (built at first use)", () => loadDefaultModelPack());
await using encoder = await FaceEncoder.open(pack);
const space = spaceOf(encoder.card);
const threshold = thresholdOf(encoder.card);
const identificationThreshold = identificationThresholdOf(encoder.card);
console.log(
  `server at ${server.address}, model ${encoder.card.id}, parameter set ${ciphersOf(keyHolder).parameterSet.name}\n`,
);

const embeddings = new Map<string, Float32Array>();
for (const photo of new Set([
  ...Object.values(ENROLLED).flat(),
  ...CLAIMS.map((claim) => claim.photo),
  ...PROBES.map((probe) => probe.photo),
])) {
  const face = await timed("embed a photo", async () => encoder.encodeSingle(await readPhoto(photo)));
  embeddings.set(photo, face.embedding);
}
const embeddingOf = (photo: string): Float32Array => embeddings.get(photo)!;
const nearestPlain = (photo: string, person: keyof typeof ENROLLED): number =>
  Math.min(...ENROLLED[person].map((enrolled) => plainDistance(space, embeddingOf(enrolled), embeddingOf(photo))));

using client = new VeilfaceClient({ address: wire.address, keyHolder });
await client.createGallery(GALLERY, space);
const templates = Object.entries(ENROLLED).flatMap(([subjectId, photos]) =>
  photos.map((photo, k) => ({ templateId: `${subjectId}-${k}`, subjectId, embedding: embeddingOf(photo) })),
);
const beforeEnrollment = { sent: wire.sent, stored: await storedBytes() };
await timed(`enroll ${templates.length} templates`, () => client.enroll(GALLERY, templates));
const sentPerTemplate = (wire.sent - beforeEnrollment.sent) / templates.length;
const storedPerTemplate = ((await storedBytes()) - beforeEnrollment.stored) / templates.length;

console.log(`Verification, threshold ${threshold}`);
const claims = [];
for (const { photo, claimed, genuine } of CLAIMS) {
  const { distance, accepted } = await timed("verify (1:1)", () =>
    client.verify(GALLERY, { subjectId: claimed, embedding: embeddingOf(photo) }, { threshold }),
  );
  const plain = nearestPlain(photo, claimed);
  expect(accepted === genuine, `${photo} claimed to be ${claimed}`);
  expect(Math.abs(distance - plain) < MAX_DIFFERENCE, `distance of ${photo} to ${claimed}`);
  claims.push([
    photo,
    claimed,
    plain.toFixed(7),
    distance.toFixed(7),
    Math.abs(distance - plain).toExponential(1),
    accepted ? "accepted" : "rejected",
    accepted === genuine ? "right" : "WRONG",
  ]);
}
printTable(["photo", "claimed", "plain", "encrypted", "difference", "decision", "which is"], claims);

await identifyAll(`Identification among ${Object.keys(ENROLLED).length} people`, new Set());

const { deleted } = await client.deleteTemplates(GALLERY, { subjectIds: [DELETED] });
expect(deleted === ENROLLED[DELETED].length, `deletion of ${DELETED}`);
const gone = await client
  .verify(GALLERY, { subjectId: DELETED, embedding: embeddingOf(ENROLLED[DELETED][0]!) }, { threshold })
  .catch((error: unknown) => error);
expect(gone instanceof ClientError && gone.serverReason === "SUBJECT_NOT_FOUND", `${DELETED} is gone`);
console.log(`Deleted ${DELETED}: ${gone instanceof ClientError ? gone.message : "still there"}\n`);
await server.restart();
await identifyAll(`Identification after the deletion and a restart of the server`, new Set<Person>([DELETED]));

printTable(
  ["stage", "times", "median ms"],
  [...stages].map(([stage, times]) => [stage, times.length, median(times).toFixed(1)]),
);
printTable(
  ["bytes per template", ""],
  [
    ["sent, with all of gRPC's", Math.round(sentPerTemplate)],
    ["stored, with all indexes", Math.round(storedPerTemplate)],
  ],
);
console.log(
  failures.length === 0 ? "Every decision is right and every distance within 1e-5." : `WRONG: ${failures.join("; ")}`,
);
process.exitCode = failures.length === 0 ? 0 : 1;

async function identifyAll(title: string, absent: ReadonlySet<Person>): Promise<void> {
  console.log(`${title}, threshold ${identificationThreshold}`);
  const rows = [];
  for (const { photo, person } of PROBES) {
    const expected = person === undefined || absent.has(person) ? undefined : person;
    const [nearest] = await timed("identify (1:N)", () =>
      client.identify(GALLERY, embeddingOf(photo), { maxCandidates: 1 }),
    );
    const found = nearest !== undefined && nearest.distance <= identificationThreshold ? nearest.subjectId : undefined;
    const plain = nearest === undefined ? NaN : nearestPlain(photo, nearest.subjectId as keyof typeof ENROLLED);
    const difference = Math.abs((nearest?.distance ?? NaN) - plain);
    expect(found === expected, `identification of ${photo}`);
    expect(difference < MAX_DIFFERENCE, `distance of ${photo} in a search`);
    rows.push([
      photo,
      nearest?.subjectId ?? "",
      plain.toFixed(7),
      nearest?.distance.toFixed(7) ?? "",
      difference.toExponential(1),
      found ?? "(nobody)",
      found === expected ? "right" : "WRONG",
    ]);
  }
  printTable(["photo", "nearest", "plain", "encrypted", "difference", "found", "which is"], rows);
}

async function storedBytes(): Promise<number> {
  return (await stat(join(server.dataFolder, "data.mdb"))).size;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
