// Scorers against people, where people have rated; raters are numbered.
import { Grid } from "./grid";
import { useData } from "./latents";
import { count, number } from "./number";
import { Axis, Interval, scaleOf } from "./plots";
import { Waiting } from "./text";
import type { Measure, PeopleData, RunEntry } from "./types";

function Figures({ caption, rows, floor, what }: { caption: string; rows: Measure[]; floor: number; what: string }) {
  const s = scaleOf(rows, [floor, 1]);
  return (
    <Grid caption={caption} rows={rows} sort={undefined} onSort={() => undefined} page={200}
      columns={[
        { key: "name", label: "Of", wide: true, cell: (m) => <bdi>{m.name}</bdi> },
        { key: "estimate", label: what, numeric: true, cell: (m) => number(m.estimate, 2) },
        { key: "interval", label: "95 % interval", numeric: true, cell: (m) => (m.low === null ? "too few latents" : `${number(m.low, 2)} to ${number(m.high, 2)}`) },
        { key: "scale", label: "Scale", wide: true, head: <Axis scale={s} />, cell: (m) => <Interval scale={s} held={m} floor={floor} /> },
        { key: "n", label: "n", numeric: true, cell: (m) => count(m.n) },
      ]} />
  );
}

export function People({ run }: { run: RunEntry }) {
  const [data, error] = useData<PeopleData>(`${run.key}/people`);
  if (!data) return <><h1>People</h1><Waiting error={error} /></>;
  return (
    <>
      <h1>People</h1>
      <p>What people said of the explanations of <bdi>{run.id}</bdi>{data.sources.every((s) => s === "page") ? ", who saw neither explainer nor score" : "; what raters of a file saw is not known"}. Ratings are from {data.sources.map((s, i) => <span key={s}>{i ? ", " : ""}<bdi>{s}</bdi></span>)};
        who the raters are is what they said.</p>
      {data.scorers.length > 0 && <>
        <h2>Scorers against people</h2>
        <p class="soft">Spearman of a scorer{"\u2019"}s value with the mean rating of {count(data.explanations)} explanations, {number(data.each, 1)} ratings each. The ceiling is what the raters{"\u2019"} own noise
          allows; with one rater there is none.</p>
        <Figures caption="Spearman with the mean rating" what="Spearman" floor={0} rows={data.ceiling && data.ceiling.estimate !== null ? [...data.scorers, data.ceiling] : data.scorers} />
      </>}
      {data.choices.length > 0 && <>
        <h2>Choices between two explanations</h2>
        <p class="soft">Share of the raters{"\u2019"} choices that a scorer makes, too; guessing has one half.</p>
        <Figures caption="Agreed choices" what="Agreed" floor={0.5} rows={data.choices} />
      </>}
      {data.between.length > 0 && <>
        <h2>Between raters</h2>
        <Figures caption="Between raters" what="Value" floor={0} rows={data.between} />
      </>}
      {!data.scorers.length && !data.choices.length && <p>Only floors were rated, so scorers are not set against people.</p>}
      <h2>Raters</h2>
      <Grid caption="Raters" rows={data.raters} sort={undefined} onSort={() => undefined} page={200}
        columns={[
          { key: "rater", label: "Rater", cell: (r) => r.rater },
          { key: "ratings", label: "Ratings", numeric: true, cell: (r) => count(r.ratings) },
          { key: "choices", label: "Choices", numeric: true, cell: (r) => count(r.choices) },
        ]} />
    </>
  );
}
