import { fromBase64Text } from "@veilface/fhe";
import type { ByteSource } from "./byte-stream.ts";
import { tensealDamaged } from "./tenseal-refusal.ts";

// A public context has a SEAL object in its first bytes, whose magic number 5E is in no base64 text: this many tell the
// two apart.
const TELLING_BYTES = 64;

/**
 * The bytes that a file stands for, whether it has them raw or as base64 text. Throws ClientError TENSEAL_INVALID for
 * text that breaks off or turns into something else.
 */
export async function* decodedStream(source: ByteSource, name: string): AsyncGenerator<Uint8Array, void, undefined> {
  let text: Base64Text | undefined;
  let head = Buffer.alloc(0);
  let sure = false;
  for await (const chunk of source) {
    if (sure) {
      yield text === undefined ? chunk : text.add(chunk);
      continue;
    }
    head = Buffer.concat([head, chunk]);
    if (head.length < TELLING_BYTES) continue;
    sure = true;
    if (looksLikeText(head.subarray(0, TELLING_BYTES))) text = new Base64Text(name);
    yield text === undefined ? head : text.add(head);
  }
  if (!sure) yield fromBase64Text(head) ?? head;
  else if (text !== undefined) yield text.end();
}

function looksLikeText(bytes: Uint8Array): boolean {
  return Buffer.from(bytes).every((byte) => /[A-Za-z0-9+/_=\s-]/.test(String.fromCharCode(byte)));
}

/** Base64 text that comes in chunks of any length. */
class Base64Text {
  readonly #name: string;
  /** Symbols that are not yet a group of four, or may be the last ones. */
  #rest = "";

  constructor(name: string) {
    this.#name = name;
  }

  add(chunk: Uint8Array): Uint8Array {
    this.#rest += Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
      .toString("latin1")
      .replaceAll(/[\t\n\r ]+/g, "");
    // The last group stays: it alone may be padded.
    const whole = Math.max(0, Math.floor((this.#rest.length - 1) / 4) * 4);
    const bytes = this.#decode(this.#rest.slice(0, whole));
    this.#rest = this.#rest.slice(whole);
    return bytes;
  }

  end(): Uint8Array {
    return this.#decode(this.#rest);
  }

  #decode(text: string): Uint8Array {
    if (text === "") return new Uint8Array();
    const bytes = fromBase64Text(Buffer.from(text, "latin1"));
    if (bytes === undefined || (text.length > 4 && text.includes("=")))
      throw tensealDamaged(this.#name, "it begins as base64 text, and goes on as something else");
    return bytes;
  }
}
