// Packs a gallery or rotates its key, in a process that the test kills. Arguments: address, gallery, key file, new key
// file or "". Prints "<done>" for every block that is durable in the draft, and "finished".
import { VeilfaceClient } from "../../client/veilface-client.ts";
import { loadKeyFile } from "../../client/keys/key-file.ts";

const [address, galleryId, keyFile, newKeyFile] = process.argv.slice(2);
const keyHolder = await loadKeyFile(keyFile!, "test");
using client = new VeilfaceClient({ keyHolder, address: address! });
const say = (done: number): void => void process.stdout.write(`${done}\n`);
if (newKeyFile === "") await client.packGallery(galleryId!, { stride: 8, onProgress: say });
else
  await client.rotateKey(await loadKeyFile(newKeyFile!, "test"), {
    galleryIds: [galleryId!],
    onProgress: (_, done) => {
      say(done);
    },
  });
process.stdout.write("finished\n");
