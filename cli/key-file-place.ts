import { join } from "node:path";
import { userFolders } from "@veilface/face/folders";

/** The key file where none is named; undefined where there is no home folder. */
export async function defaultKeyFile(): Promise<string | undefined> {
  const folders = await userFolders();
  return folders && join(folders.config, "veilface.key");
}
