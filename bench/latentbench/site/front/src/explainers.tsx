// The leaderboard of explainers: ranked tables, what the scores cost, who beats whom, and how latents are spread.
import { useMemo } from "preact/hooks";
import { Check, Choice, Columns, columnsOf, distinct, Search, Tabs } from "./controls";
import { Grid, type Column } from "./grid";
import { dollars, number, percent, pValue, scale, short, signed } from "./number";
import { Axis, COSTS, CostPlot, Histogram, Interval, scaleOf } from "./plots";
import { change, link, type Route } from "./route";
import { Fold } from "./text";
import type { BoardRow, Boards, BoardTable, Duel, Num } from "./types";

const VIEWS: [string, string][] = [["table", "Table"], ["cost", "Cost and quality"], ["pairs", "Head to head"], ["spread", "Distributions"]];
const USUAL = ["rank", "explainer", "score", "interval", "scale", "coverage", "n", "tokens", "dollars"];

export const letter = (tie: Num): string => (tie === null ? "" : tie <= 26 ? String.fromCharCode(64 + tie) : `#${tie}`);

export function RankBadge({ low, high, tie }: { low: Num; high: Num; tie: Num }) {
  if (low === null || high === null) return <span class="rank">not ranked</span>;
  return (
    <span class="rank">{low === high ? low : `${low}\u2013${high}`}{" "}
      <span class={`tie tie-${((tie ?? 1) - 1) % 6}`} title={`tie group ${letter(tie)}`}>{letter(tie)}</span>
    </span>
  );
}

export function Legend({ bounds }: { bounds: boolean }) {
  return (
    <dl class="legend">
      <div><dt><span class="rank">1{"\u2013"}3 <span class="tie tie-0">A</span></span></dt>
        <dd>A rank is a range of places that the intervals allow: at 1{"\u2013"}3 none is surely better and at most two may be. Rows with one
          letter are a tie group: none is surely worse than the first of it. Filters hide rows; ranks stay those of the whole table.</dd></div>
      <div><dt><svg width="60" height="20" aria-hidden="true"><line class="band" x1="8" x2="52" y1="10" y2="10" /><circle cx="30" cy="10" r="4" /></svg></dt>
        <dd>Mean over latents with its 95 % interval.</dd></div>
      <div><dt><svg width="60" height="20" aria-hidden="true"><line class="floor" x1="30" x2="30" y1="0" y2="20" /></svg></dt>
        <dd>Declared floor: the score of an answer that knows nothing. Grey rows are measured floors; an explainer that shares their rank has shown nothing.</dd></div>
      {bounds && <div><dt><svg width="60" height="20" aria-hidden="true"><line class="bounds" x1="4" x2="56" y1="10" y2="10" /></svg></dt>
        <dd>Bounds: the mean if every missing judgement had been the worst or the best possible.</dd></div>}
    </dl>
  );
}

const measure = (row: BoardRow, name: string) => row.metrics.find((m) => m.name === name);

function columns(table: BoardTable): Column<BoardRow>[] {
  const s = scaleOf(table.rows.map((r) => r.score), [table.floor, ...table.rows.flatMap((r) => [r.worst, r.best])]);
  const others = [...new Set(table.rows.flatMap((r) => r.metrics.map((m) => m.name)))];
  return [
    { key: "rank", label: "Rank", order: (r) => r.rank_low ?? 1e9, cell: (r) => <RankBadge low={r.rank_low} high={r.rank_high} tie={r.tie} /> },
    { key: "explainer", label: "Explainer", wide: true, order: (r) => r.explainer.toLowerCase(),
      cell: (r) => <span><bdi>{r.explainer}</bdi>{r.is_floor ? <span class="soft"> (floor)</span> : ""}
        {r.model ? <small class="soft"> by <bdi>{r.model}</bdi></small> : ""}</span> },
    { key: "score", label: table.headline, numeric: true, down: true, order: (r) => r.score.estimate, cell: (r) => number(r.score.estimate) },
    { key: "interval", label: "95 % interval", numeric: true, down: true, order: (r) => r.score.low,
      cell: (r) => (r.score.low === null ? "too few latents" : `${number(r.score.low)} to ${number(r.score.high)}`) },
    { key: "scale", label: "Scale", wide: true, head: <Axis scale={s} />,
      cell: (r) => <Interval scale={s} held={r.score} worst={r.worst} best={r.best} floor={table.floor} soft={r.is_floor} /> },
    { key: "coverage", label: "Coverage", numeric: true, order: (r) => r.coverage, cell: (r) => percent(r.coverage) },
    { key: "n", label: "Latents", numeric: true, down: true, order: (r) => r.score.n, cell: (r) => r.score.n },
    { key: "tokens", label: "Tokens", numeric: true, order: (r) => r.tokens, cell: (r) => short(r.tokens) },
    { key: "dollars", label: "$", numeric: true, order: (r) => r.dollars, cell: (r) => dollars(r.dollars) },
    { key: "seconds", label: "Seconds", numeric: true, order: (r) => r.seconds, cell: (r) => short(r.seconds) },
    { key: "bounds", label: "Bounds", numeric: true, order: (r) => r.worst,
      cell: (r) => (r.worst === null ? "" : `${number(r.worst)} to ${number(r.best)}`) },
    { key: "judged", label: "Judged", numeric: true, order: (r) => r.judged, cell: (r) => `${r.judged} of ${r.attempted}` },
    { key: "status", label: "Status", order: (r) => r.status, cell: (r) => r.status },
    { key: "run", label: "Run", order: (r) => r.run, cell: (r) => <bdi>{r.run}</bdi> },
    ...others.map((name): Column<BoardRow> => ({ key: `m:${name}`, label: name, numeric: true, down: true,
      order: (r) => measure(r, name)?.estimate ?? null,
      cell: (r) => { const m = measure(r, name); return m ? <span title={`n ${m.n}, floor ${number(m.floor)}`}>{number(m.estimate)}
        {m.low !== null && <small class="soft"> [{number(m.low, 2)}, {number(m.high, 2)}]</small>}</span> : ""; } })),
  ];
}

function Pairs({ table, route }: { table: BoardTable; route: Route }) {
  const rows = table.rows.slice(0, table.duelled);
  const options = rows.map((r, i): [string, string] => [String(i), `${r.explainer}${r.is_floor ? " (floor)" : ""}`]);
  const one = Math.min(Number(route.query.against ?? 0) || 0, rows.length - 1);
  const between = new Map(table.duels.map((d) => [`${d.first}-${d.second}`, d]));
  const duel = (a: number, b: number): Duel | null => {
    const held = between.get(`${Math.min(a, b)}-${Math.max(a, b)}`);
    if (!held) return null;
    return a < b ? held : { ...held, difference: -held.difference, low: held.high === null ? null : -held.high,
      high: held.low === null ? null : -held.low, ahead: 1 - held.ahead };
  };
  const mine = rows.map((_, i) => (i === one ? null : duel(one, i)));
  const s = scale([0, ...mine.flatMap((d) => (d ? [d.difference, d.low, d.high] : []))]);
  const tone = (d: Duel) => (d.p !== null && d.p < 0.05 ? (d.difference > 0 ? "better" : "worse") : "even");
  return (
    <div>
      <p class="soft">Mean difference of {table.headline} over the latents that both have, better is positive; p after Holm{"\u2019"}s correction over
        all pairs of the table{table.duelled < table.rows.length ? `; the first ${table.duelled} of ${table.rows.length} rows` : ""}.</p>
      <Choice route={route} name="against" label="Compare" options={options} all={null} />
      <Grid caption={`${rows[one]?.explainer} against the others`} rows={rows.map((r, i) => ({ r, d: mine[i] ?? null })).filter((x) => x.d)}
        sort={undefined} onSort={() => undefined}
        columns={[
          { key: "other", label: "Against", wide: true, cell: ({ r }) => <span><bdi>{r.explainer}</bdi>{r.is_floor ? <span class="soft"> (floor)</span> : ""}</span> },
          { key: "difference", label: "Difference", numeric: true, cell: ({ d }) => <span class={d ? tone(d) : ""}>{signed(d?.difference ?? null)}</span> },
          { key: "interval", label: "95 % interval", numeric: true, cell: ({ d }) => (d?.low == null ? "too few latents" : `${signed(d.low)} to ${signed(d.high)}`) },
          { key: "scale", label: "Scale", wide: true, head: <Axis scale={s} />, cell: ({ d }) => d && (
            <Interval scale={s} floor={0} held={{ name: "difference", estimate: d.difference, low: d.low, high: d.high, n: d.n, floor: 0 }} />) },
          { key: "ahead", label: "Ahead on", numeric: true, cell: ({ d }) => percent(d?.ahead ?? null) },
          { key: "n", label: "Latents", numeric: true, cell: ({ d }) => d?.n },
          { key: "p", label: "p (Holm)", numeric: true, cell: ({ d }) => pValue(d?.p ?? null) },
        ]} />
      <div class="wide wide-only" role="group" aria-label="Matrix of all pairs" tabIndex={0}>
        <table class="matrix">
          <caption>Row minus column. Framed: p {"<"} 0.05 after Holm.</caption>
          <thead><tr><td />{rows.map((r, i) => <th scope="col" key={i}><bdi>{r.explainer}</bdi></th>)}</tr></thead>
          <tbody>
            {rows.map((r, i) => (
              <tr key={i}><th scope="row"><bdi>{r.explainer}</bdi></th>
                {rows.map((_, j) => { const d = i === j ? null : duel(i, j);
                  return <td key={j} class={d ? tone(d) : "self"}>{d ? signed(d.difference) : ""}</td>; })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}

function Board({ table, rows, route }: { table: BoardTable; rows: BoardRow[]; route: Route }) {
  const view = route.query.view ?? "table";
  const cost = (COSTS.find(([key]) => key === route.query.cost) ?? COSTS[0])?.[0] as "tokens" | "dollars" | "seconds";
  const all = useMemo(() => columns(table), [table]);
  const chosen = columnsOf(route, USUAL);
  return (
    <section class="board">
      <h2><bdi>{table.title}</bdi></h2>
      <p class="soft"><bdi>{table.conditions}</bdi></p>
      {view === "table" && <>
        <Columns route={route} all={all.map((c) => [c.key, c.label])} usual={USUAL} />
        <Grid caption={table.title} columns={all.filter((c) => chosen.includes(c.key))} rows={rows} sort={route.query.sort}
          onSort={(sort) => change(route, { sort })} tone={(r) => (r.is_floor ? "floor" : "")} name={(r) => `${r.run} ${r.explainer}`} />
      </>}
      {view === "cost" && <>
        <Choice route={route} name="cost" label="Cost" options={COSTS} all={null} />
        <CostPlot rows={rows} cost={(r) => r[cost]} label={COSTS.find(([key]) => key === cost)?.[1] ?? cost} headline={table.headline}
          better={table.higher_is_better} floor={table.floor} />
      </>}
      {view === "pairs" && (table.duels.length ? <Pairs table={table} route={route} /> : <p class="soft">These rows have no values per latent, so they cannot be paired.</p>)}
      {view === "spread" && (
        <ul class="small-multiples">
          {rows.map((r) => (
            <li key={`${r.run} ${r.explainer}`} class={r.is_floor ? "floor" : ""}>
              <h3><bdi>{r.explainer}</bdi>{r.is_floor ? " (floor)" : ""}</h3>
              {r.spread && table.bins
                ? <><Histogram spread={r.spread} bins={table.bins} floor={table.floor} />
                    <p class="soft">median {number(r.spread.quartiles[1])}, n {r.spread.n}</p></>
                : <p class="soft">No values per latent.</p>}
            </li>
          ))}
        </ul>
      )}
      <Fold title="Reproduce">
        <ul>{[...new Map(table.rows.map((r) => [r.run, r])).values()].map((r) => (
          <li key={r.run}><bdi>{r.run}</bdi> ({r.date.slice(0, 10)}): <code>{r.command}</code></li>))}</ul>
      </Fold>
    </section>
  );
}

export function Explainers({ boards, route }: { boards: Boards; route: Route }) {
  const q = route.query;
  const tables = boards.tables;
  const pooled = tables.some((t) => t.coders === "all");
  const coders = q.coders ?? (pooled ? "all" : undefined);
  const search = (q.search ?? "").toLowerCase();
  const fits = (t: BoardTable) => (!q.suite || t.suite === q.suite) && (!coders || coders === "*" || t.coders === coders)
    && (!q.kind || t.kind === q.kind) && (!q.judge || t.judge === q.judge) && (!q.scorer || t.scorer === q.scorer);
  const row = (r: BoardRow) => (!q.status || r.status === q.status) && (q.floors !== "1" || !r.is_floor)
    && (!search || `${r.explainer} ${r.explainer_id} ${r.model ?? ""} ${r.run}`.toLowerCase().includes(search));
  const shown = tables.filter(fits).map((table) => ({ table, rows: table.rows.filter(row) })).filter((x) => x.rows.length);
  return (
    <>
      <h1>Explainers</h1>
      <form class="filters" onSubmit={(e) => e.preventDefault()} aria-label="Filters">
        <Search route={route} label="Search" />
        <Choice route={route} name="suite" label="Suite" options={distinct(tables.map((t) => t.suite))} />
        <Choice route={route} name="scorer" label="Scorer" options={distinct(tables.map((t) => t.scorer))} />
        <Choice route={route} name="judge" label="Judge" options={distinct(tables.map((t) => t.judge))} />
        {pooled && tables.some((t) => t.coders !== "all")
          ? <Choice route={route} name="coders" label="Coder" all={null}
              options={[["all", "all together"], ["*", "each"], ...distinct(tables.map((t) => t.coders)).filter((c) => c !== "all").map((c): [string, string] => [c, c])]} />
          : <Choice route={route} name="coders" label="Coder" options={distinct(tables.map((t) => t.coders))} />}
        <Choice route={route} name="kind" label="Kind of coder" options={distinct(tables.map((t) => t.kind))} />
        <Choice route={route} name="status" label="Status" options={distinct(tables.flatMap((t) => t.rows.map((r) => r.status)))} />
        <Check route={route} name="floors" label="Hide floors" />
      </form>
      <Tabs route={route} name="view" tabs={VIEWS} />
      <p class="downloads">All rows: <a href="leaderboard.csv" download>CSV</a> <a href="leaderboard.json" download>JSON</a>
        {" "}<a href={link(route.path, route.query)}>Link to this view</a></p>
      {shown.map(({ table, rows }) => <Board key={table.title + table.conditions} table={table} rows={rows} route={route} />)}
      {!shown.length && <p role="status">No row fits the filters. <a href={link(route.path)}>Show all</a></p>}
      <h2>What the signs mean</h2>
      <Legend bounds={tables.some((t) => t.rows.some((r) => r.worst !== null))} />
      {boards.remarks.length > 0 && <ul class="remarks">{boards.remarks.map((text) => <li key={text}>{text}</li>)}</ul>}
    </>
  );
}
