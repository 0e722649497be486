/** JSON text with a line for each member, and lists of plain values on one line. */
export function layOutJson(value: unknown): string {
  return `${layOut(value, "")}\n`;
}

function layOut(value: unknown, indent: string): string {
  if (
    typeof value !== "object" ||
    value === null ||
    (Array.isArray(value) && value.every((item) => typeof item !== "object"))
  )
    return JSON.stringify(value);
  const deeper = `${indent}  `;
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  const members = Array.isArray(value)
    ? value.map((item: unknown) => layOut(item, deeper))
    : Object.entries(value).map(([name, member]) => `${JSON.stringify(name)}: ${layOut(member, deeper)}`);
  return members.length === 0
    ? `${open}${close}`
    : `${open}\n${members.map((member) => deeper + member).join(",\n")}\n${indent}${close}`;
}
