import { keyAfter } from "../rows/schema.ts";
import type { Table } from "../rows/schema.ts";

/** A row of a table. */
interface Row {
  readonly key: Buffer;
  readonly value: Buffer;
}

/** Rows that are read at once: below a millisecond's worth. */
const PAGE_ROWS = 256;

/** The rows of a range, ascending, page by page. Each page is as the newest commit has it when it is taken. */
export function* pagesOf(
  table: Table,
  { start, end }: { readonly start: Buffer; readonly end: Buffer },
): Generator<Row[]> {
  for (let from = start; ; ) {
    const page = Array.from(table.getRange({ start: from, end, limit: PAGE_ROWS }));
    const last = page.at(-1);
    if (last === undefined) return;
    yield page;
    if (page.length < PAGE_ROWS) return;
    from = keyAfter(last.key);
  }
}
