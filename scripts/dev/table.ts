/** Prints rows as a table with aligned columns: text to the left, numbers to the right. */
export function printTable(header: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
  const widths = header.map((name, k) => Math.max(name.length, ...rows.map((row) => String(row[k]).length)));
  const line = (cells: readonly (string | number)[]): string =>
    cells
      .map((cell, k) => (typeof cell === "number" ? String(cell).padStart(widths[k]!) : cell.padEnd(widths[k]!)))
      .join("  ")
      .trimEnd();
  console.log(line(header));
  console.log(widths.map((width) => "-".repeat(width)).join("  "));
  for (const row of rows) console.log(line(row));
  console.log();
}
