import type { Command } from "commander";
import type { Cli } from "./outcome.ts";
import { addCompare } from "./tenseal/compare.ts";
import { addDelete } from "./tenseal/delete.ts";
import { addEnroll } from "./tenseal/enroll.ts";
import { addGallery, addUnenroll } from "./tenseal/gallery.ts";
import { addList } from "./tenseal/list.ts";
import { addSearch } from "./tenseal/search.ts";
import { addUpload } from "./tenseal/upload.ts";

const EXAMPLES = `
In Python, with the key that stays there:
  open("secret.bin", "wb").write(context.serialize(save_secret_key=True))
  open("public.bin", "wb").write(context.serialize())
  open("v1.bin", "wb").write(ts.ckks_vector(context, embedding).serialize())

Then here, which needs no key; files may be base64 text too:
  veilface tenseal upload public.bin
  veilface tenseal compare CONTEXT-ID v1.bin v2.bin --out distance.bin
  veilface tenseal compare CONTEXT-ID probe.bin v1.bin v2.bin v3.bin --out distances
  veilface tenseal gallery create staff CONTEXT-ID --dimension 128
  veilface tenseal enroll staff ada v1.bin
  veilface tenseal search staff probe.bin --out distances
  veilface tenseal list
  veilface tenseal delete CONTEXT-ID`;

export function addTenseal(program: Command, cli: Cli): void {
  const tenseal = program
    .command("tenseal")
    .description("Compare vectors that TenSEAL encrypted. The slow road; no key is needed here.")
    .addHelpText("after", EXAMPLES);
  for (const add of [addUpload, addCompare, addGallery, addEnroll, addSearch, addUnenroll, addList, addDelete])
    add(tenseal, cli);
}
