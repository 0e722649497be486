import * as proto from "@veilface/proto";
import { WIRE_EXAMPLES } from "./wire-examples.ts";

/** A message in protobuf's JSON mapping, and its serialisation in hexadecimal: fields in the order of their numbers. */
export interface WireVector {
  readonly json: object;
  readonly hex: string;
}

/** What ts-proto makes of a message. */
interface GeneratedCodec {
  fromJSON(json: object): object;
  encode(message: object): { finish(): Uint8Array };
  decode(bytes: Uint8Array): object;
}

/**
 * The generated codec of a message by its full name. Throws Error for a message that @veilface/proto does not export.
 */
export function generatedCodec(fullName: string): GeneratedCodec {
  const codec = (proto as unknown as Record<string, GeneratedCodec | undefined>)[fullName.split(".").at(-1)!];
  if (codec === undefined) throw new Error(`@veilface/proto exports no ${fullName}`);
  return codec;
}

/** The examples of every message with their serialisations, by the message's full name. */
export function wireVectors(): Record<string, WireVector[]> {
  return Object.fromEntries(
    Object.entries(WIRE_EXAMPLES).map(([name, examples]) => {
      const codec = generatedCodec(name);
      return [
        name,
        examples.map((json) => ({
          json,
          hex: Buffer.from(codec.encode(codec.fromJSON(json)).finish()).toString("hex"),
        })),
      ];
    }),
  );
}
