import { ServerError } from "../../server/errors.ts";
import { LmdbStore } from "../../server/store/lmdb/lmdb-store.ts";

// Opens the store of a folder and says "open", or why it could not; then stays until it is killed or its input ends.
try {
  const store = LmdbStore.open({ path: process.argv[2]! });
  process.stdout.write("open\n");
  process.stdin.resume().once("end", () => void store.close());
} catch (error) {
  process.stdout.write(error instanceof ServerError ? `${error.reason} ${error.message}\n` : String(error));
}
