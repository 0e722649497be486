const MOST_LISTED = 20;

/** A line that names items, the first ones of many; none where there are none. */
export function listed(what: string, items: readonly string[]): string[] {
  if (items.length === 0) return [];
  const rest = items.length > MOST_LISTED ? ` and ${items.length - MOST_LISTED} more (--json names all)` : "";
  return [`${what}${items.slice(0, MOST_LISTED).join(", ")}${rest}`];
}

/** Lines that say whose bits stay in packed blocks, and what to do; none where there are none. */
export function struckText(galleryId: string, templateIds: readonly string[]): string[] {
  if (templateIds.length === 0) return [];
  const count = templateIds.length === 1 ? "1 template" : `${templateIds.length} templates`;
  return [
    ...listed(`bits of ${count} stay on the server's disk, in packed blocks that hold others too: `, templateIds),
    `remove them with: veilface gallery pack ${galleryId}`,
  ];
}
