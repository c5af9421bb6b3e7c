// Judges by what exams showed of them, and coders side by side.
import { Choice, distinct, Search } from "./controls";
import { RankBadge } from "./explainers";
import { Grid, type Column } from "./grid";
import { dollars, number, percent, short, signed } from "./number";
import { Axis, Interval, scaleOf } from "./plots";
import { change, type Route } from "./route";
import type { Boards, CoderRow, ExamRow } from "./types";

export function Judges({ boards, route }: { boards: Boards; route: Route }) {
  const q = route.query, search = (q.search ?? "").toLowerCase();
  const rows = boards.exams.filter((e) => (!q.scorer || e.scorer === q.scorer) && (!q.suite || e.suite === q.suite)
    && (!q.judge || e.judge === q.judge) && (!search || `${e.judge} ${e.scorer} ${e.suite}`.toLowerCase().includes(search)));
  const s = scaleOf(rows.flatMap((e) => [e.near, e.unrelated]), [0.5, 1]);
  const columns: Column<ExamRow>[] = [
    { key: "judge", label: "Judge", wide: true, order: (e) => e.judge, cell: (e) => <bdi>{e.judge}</bdi> },
    { key: "scorer", label: "Scorer", order: (e) => e.scorer, cell: (e) => <bdi>{e.scorer}</bdi> },
    { key: "suite", label: "Exam", order: (e) => e.suite, cell: (e) => <bdi>{e.suite}</bdi> },
    { key: "near", label: "Truth over near misses", numeric: true, down: true, order: (e) => e.near.estimate,
      cell: (e) => <span>{percent(e.near.estimate)} <small class="soft">[{percent(e.near.low)}, {percent(e.near.high)}]</small></span> },
    { key: "scale", label: "Scale", wide: true, head: <Axis scale={s} />, cell: (e) => <Interval scale={s} held={e.near} floor={0.5} /> },
    { key: "unrelated", label: "Truth over unrelated", numeric: true, down: true, order: (e) => e.unrelated.estimate,
      cell: (e) => <span>{percent(e.unrelated.estimate)} <small class="soft">[{percent(e.unrelated.low)}, {percent(e.unrelated.high)}]</small></span> },
    { key: "yes", label: "Yes bias", numeric: true, order: (e) => (e.yes_bias?.estimate == null ? null : Math.abs(e.yes_bias.estimate)),
      cell: (e) => (e.yes_bias ? signed(e.yes_bias.estimate) : "") },
    { key: "n", label: "Latents", numeric: true, down: true, order: (e) => e.near.n, cell: (e) => e.near.n },
    { key: "coverage", label: "Coverage", numeric: true, order: (e) => e.coverage, cell: (e) => percent(e.coverage) },
    { key: "tokens", label: "Tokens a judgement", numeric: true, order: (e) => e.tokens, cell: (e) => `${short(e.tokens)}, $ ${dollars(e.dollars)}` },
  ];
  return (
    <>
      <h1>Judges</h1>
      <p>How often a judge gives the true explanation the better score than a near miss or an unrelated one, on latents whose truth is known. Chance is 50%
        (dashed); an exam of another scorer or suite asks something else, so rows of different ones do not compare.</p>
      <form class="filters" onSubmit={(e) => e.preventDefault()} aria-label="Filters">
        <Search route={route} label="Search" />
        <Choice route={route} name="scorer" label="Scorer" options={distinct(boards.exams.map((e) => e.scorer))} />
        <Choice route={route} name="suite" label="Exam" options={distinct(boards.exams.map((e) => e.suite))} />
        <Choice route={route} name="judge" label="Judge" options={distinct(boards.exams.map((e) => e.judge))} />
      </form>
      <Grid caption="Judges" columns={columns} rows={rows} sort={route.query.sort} onSort={(sort) => change(route, { sort })} page={200} />
      {!boards.exams.length && <p>No exam of these judges is on record. <code>bench judge qualify</code> gives one.</p>}
    </>
  );
}

export function Coders({ boards, route }: { boards: Boards; route: Route }) {
  const q = route.query;
  const tables = boards.coders.filter((t) => (!q.scorer || t.scorer === q.scorer) && (!q.judge || t.judge === q.judge)
    && (!q.suite || t.suite === q.suite) && (q.explainer ? t.explainer === q.explainer : !t.is_floor));
  return (
    <>
      <h1>Coders</h1>
      <p>The latents of each coder under one explainer, scorer and judge. Coders have different latents, so the ranks are of independent samples.</p>
      <form class="filters" onSubmit={(e) => e.preventDefault()} aria-label="Filters">
        <Choice route={route} name="suite" label="Suite" options={distinct(boards.coders.map((t) => t.suite))} />
        <Choice route={route} name="scorer" label="Scorer" options={distinct(boards.coders.map((t) => t.scorer))} />
        <Choice route={route} name="judge" label="Judge" options={distinct(boards.coders.map((t) => t.judge))} />
        <Choice route={route} name="explainer" label="Explainer" options={distinct(boards.coders.map((t) => t.explainer))} all="all but floors" />
        <Choice route={route} name="kind" label="Kind of coder" options={distinct(boards.coders.flatMap((t) => t.rows.map((r) => r.kind)))} />
      </form>
      {tables.map((t) => {
        const s = scaleOf(t.rows.map((r) => r.score), [t.floor]);
        const columns: Column<CoderRow>[] = [
          { key: "rank", label: "Rank", order: (r) => r.rank_low, cell: (r) => <RankBadge low={r.rank_low} high={r.rank_high} tie={r.tie} /> },
          { key: "coder", label: "Coder", wide: true, order: (r) => r.coder, cell: (r) => <bdi>{r.coder}</bdi> },
          { key: "kind", label: "Kind", order: (r) => r.kind, cell: (r) => r.kind ?? "not on record" },
          { key: "score", label: t.headline, numeric: true, down: true, order: (r) => r.score.estimate, cell: (r) => number(r.score.estimate) },
          { key: "interval", label: "95 % interval", numeric: true,
            cell: (r) => (r.score.low === null ? "too few latents" : `${number(r.score.low)} to ${number(r.score.high)}`) },
          { key: "scale", label: "Scale", wide: true, head: <Axis scale={s} />, cell: (r) => <Interval scale={s} held={r.score} floor={t.floor} /> },
          { key: "coverage", label: "Coverage", numeric: true, order: (r) => r.coverage, cell: (r) => percent(r.coverage) },
          { key: "n", label: "Latents", numeric: true, order: (r) => r.score.n, cell: (r) => r.score.n },
        ];
        const title = `${t.explainer}, ${t.scorer} judged by ${t.judge}`;
        return (
          <section class="board" key={`${title} ${t.suite} ${t.rows[0]?.run}`}>
            <h2><bdi>{title}</bdi></h2>
            <p class="soft"><bdi>{t.suite}</bdi>, split {t.split}; floor of {t.headline} {number(t.floor)}</p>
            <Grid caption={title} columns={columns} rows={t.rows.filter((r) => !q.kind || r.kind === q.kind)} sort={q.sort}
              onSort={(sort) => change(route, { sort })} page={200} />
          </section>
        );
      })}
      {!tables.length && <p>No run here has rows of several coders.</p>}
    </>
  );
}
