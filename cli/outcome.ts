/** What a command came to: printed as text or as one JSON document, and told by the exit code. */
export interface Outcome {
  readonly json: Readonly<Record<string, unknown>>;
  readonly text: readonly string[];
  /** Exit code 0, or 1 for "no": not accepted, nobody found, nothing deleted. */
  readonly yes: boolean;
}

/** What commands share with the program around them. */
export interface Cli {
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  /** Takes a command's outcome; the last thing a command does. */
  readonly finish: (outcome: Outcome) => void;
}

/** Distances to six decimals: the encrypted ones are good to seven. */
export function formatDistance(distance: number): string {
  return distance.toFixed(6);
}

/** Rows as aligned columns; what a row lacks is empty. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = header.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  return [header, ...rows].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

/** How many there are of something: "1 photo", "2 photos". */
export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
