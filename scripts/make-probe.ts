// Makes a gallery of made-up faces on a running server, and an encrypted probe in a file, for the example clients that
// have no key: node --conditions=source scripts/make-probe.ts SERVER GALLERY FILE
import { writeFile } from "node:fs/promises";
import { SearchableGallery, delimited } from "./dev/searchable-gallery.ts";

const [address, galleryId, file] = process.argv.slice(2);
if (address === undefined || galleryId === undefined || file === undefined) {
  console.error("usage: node --conditions=source scripts/make-probe.ts SERVER GALLERY FILE");
  process.exit(2);
}
using gallery = await SearchableGallery.create(address, galleryId);
await writeFile(file, delimited(gallery.probeMessages()));
console.log(
  `gallery ${galleryId}: ${gallery.templates.length} templates; the probe is in ${file}, the key is forgotten`,
);
