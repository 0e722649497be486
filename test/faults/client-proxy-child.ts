// Lists the galleries at an address under whatever proxy variables this process has, and prints what came of it.
import { KeyHolder } from "../../client/keys/key-holder.ts";
import { VeilfaceClient } from "../../client/veilface-client.ts";

const [address = "", ...flags] = process.argv.slice(2);
using keyHolder = await KeyHolder.create("PACKED_N4096_Q30");
try {
  const tls = flags.includes("tls") ? { tls: true as const } : {};
  using client = new VeilfaceClient({
    keyHolder,
    address,
    insecure: flags.includes("insecure"),
    deadlineMs: 4000,
    ...tls,
  });
  const galleries = await client.listGalleries();
  console.log(JSON.stringify({ galleries: galleries.length }));
} catch (error) {
  const { name, reason, message } = error as Error & { reason?: string };
  console.log(JSON.stringify({ name, reason, message }));
}
