// One table for the whole site: sorted by its heads, cut into pages, and a list of cards where it would be wider than the screen.
// Rows that come and go while one scrolls are quicker still, and are lost to the browser's search, to printing and to a reader of
// the screen; a page of fifty is drawn in a few milliseconds whatever the number of rows.
import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { count } from "./number";
import type { Num } from "./types";

export interface Column<T> {
  key: string;
  label: string;
  cell: (row: T) => ComponentChildren;
  /** What rows are ordered by; columns without it cannot be. */
  order?: (row: T) => Num | string;
  /** Larger first when it is chosen. */
  down?: boolean;
  /** Under the label, such as an axis. */
  head?: ComponentChildren;
  numeric?: boolean;
  wide?: boolean;
}

interface Asked { key: string; down: boolean }

export function asked(text: string | undefined): Asked | null {
  return text ? { key: text.replace(/^-/, ""), down: text.startsWith("-") } : null;
}

export function ordered<T>(rows: T[], columns: Column<T>[], by: Asked | null): T[] {
  const order = by && columns.find((column) => column.key === by.key)?.order;
  if (!by || !order) return rows;
  const keyed = rows.map((row, i) => ({ row, i, at: order(row) }));
  const sign = by.down ? -1 : 1;
  keyed.sort((a, b) => {
    if (a.at === null || b.at === null) return a.at === b.at ? a.i - b.i : a.at === null ? 1 : -1;
    return a.at < b.at ? -sign : a.at > b.at ? sign : a.i - b.i;
  });
  return keyed.map(({ row }) => row);
}

interface GridProps<T> {
  caption: string;
  columns: Column<T>[];
  rows: T[];
  sort: string | undefined;
  onSort: (sort: string | undefined) => void;
  tone?: (row: T) => string;
  /** What a row is told by, so that a sort moves rows and draws none anew. */
  name?: (row: T) => string;
  page?: number;
}

export function Grid<T>({ caption, columns, rows, sort, onSort, tone, name, page = 50 }: GridProps<T>) {
  const by = asked(sort);
  const all = useMemo(() => ordered(rows, columns, by), [rows, sort, columns.map((c) => c.key).join()]);
  const [at, turn] = useState(0);
  useEffect(() => turn(0), [rows.length, sort]);
  const last = Math.max(0, Math.ceil(all.length / page) - 1);
  const here = Math.min(at, last);
  const shown = all.length <= page ? all : all.slice(here * page, (here + 1) * page);
  const choose = (column: Column<T>) => {
    const first = column.down ? `-${column.key}` : column.key;
    const second = column.down ? column.key : `-${column.key}`;
    onSort(sort === first ? second : sort === second ? undefined : first);
  };
  const sorts = columns.filter((column) => column.order);
  return (
    <div class="grid">
      {sorts.length > 0 && (
        <label class="cards-only">Sort by{" "}
          <select value={sort ?? ""} onChange={(e) => onSort(e.currentTarget.value || undefined)}>
            <option value="">as it comes</option>
            {sorts.flatMap((c) => [<option value={`-${c.key}`}>{c.label}, largest first</option>,
              <option value={c.key}>{c.label}, smallest first</option>])}
          </select>
        </label>
      )}
      <div class="wide" role="group" aria-label={caption} tabIndex={0}>
        <table role="table">
          <caption class="unseen">{caption}</caption>
          <thead role="rowgroup">
            <tr role="row">
              {columns.map((column) => (
                <th role="columnheader" scope="col" class={`${column.numeric ? "n" : ""} ${column.wide ? "w" : ""}`} key={column.key}
                  aria-sort={by?.key === column.key ? (by.down ? "descending" : "ascending") : undefined}>
                  {column.order
                    ? <button type="button" onClick={() => choose(column)}>{column.label}<span aria-hidden="true">
                        {by?.key === column.key ? (by.down ? " \u2193" : " \u2191") : ""}</span></button>
                    : column.label}
                  {column.head}
                </th>
              ))}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {shown.map((row) => (
              <tr role="row" class={tone?.(row) ?? ""} key={name?.(row)}>
                {columns.map((column) => (
                  <td role="cell" class={`${column.numeric ? "n" : ""} ${column.wide ? "w" : ""}`} data-label={column.label} key={column.key}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {!all.length && <p class="soft">Nothing here that fits the filters.</p>}
      {last > 0 && (
        <nav class="pages" aria-label={`Pages of ${caption}`}>
          <button type="button" disabled={here === 0} onClick={() => turn(here - 1)}>Previous</button>
          <span role="status">{count(here * page + 1)}{"\u2013"}{count(Math.min(all.length, (here + 1) * page))} of {count(all.length)}</span>
          <button type="button" disabled={here === last} onClick={() => turn(here + 1)}>Next</button>
        </nav>
      )}
    </div>
  );
}
