// Remembers bytes that must never reach a log, and looks for them in one, however they were printed.

const WINDOW_BYTES = 12;
// Past SEAL's 113 bytes of header, which are public and the same for every ciphertext.
const BODY_AT = 120;
const watched: Buffer[] = [];

/** Remembers windows at the start (or past a SEAL header), in the middle and at the end of the bytes. */
export function watchBytes(bytes: Uint8Array): void {
  const first = bytes.length > 2 * BODY_AT ? BODY_AT : 0;
  for (const at of [first, Math.floor(bytes.length / 2), bytes.length - WINDOW_BYTES - 2]) {
    const window = Buffer.from(bytes.subarray(at, at + WINDOW_BYTES + 2));
    // A window of zeros or of one repeated byte is no one's secret.
    if (new Set(window).size > 4) watched.push(window);
  }
}

/** How many windows are remembered. */
export function watchedCount(): number {
  return watched.length;
}

/** The ways in which remembered bytes appear in a text; empty if they do not. */
export function leaksIn(text: string): string[] {
  const lower = text.toLowerCase();
  return watched.flatMap((window) => [
    ...(spellings(window).some((spelling) => lower.includes(spelling)) ? ["hexadecimal or decimal"] : []),
    ...(base64Spellings(window).some((spelling) => text.includes(spelling)) ? ["base64"] : []),
  ]);
}

function spellings(window: Buffer): string[] {
  const bytes = [...window.subarray(0, WINDOW_BYTES)];
  const hex = bytes.map((byte) => byte.toString(16).padStart(2, "0"));
  return [hex.join(""), hex.join(" "), bytes.join(","), bytes.join(", "), bytes.join(" ")];
}

// Bytes inside a longer base64 text start at one of three phases; whole quanta of the window read the same in each.
function base64Spellings(window: Buffer): string[] {
  return [0, 1, 2].flatMap((phase) => {
    const quanta = window.subarray(phase, phase + WINDOW_BYTES);
    return [quanta.toString("base64"), quanta.toString("base64url")];
  });
}
