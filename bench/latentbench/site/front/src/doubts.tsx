// Where a run disagrees with itself, and what has no answer.
import { Check, Tabs } from "./controls";
import { Grid } from "./grid";
import { useData } from "./latents";
import { count, number, percent } from "./number";
import { change, link, type Route } from "./route";
import { Fold, Long, Waiting } from "./text";
import type { DifferenceList, DifferenceSide, FailureList, RunEntry } from "./types";

const SAID: Record<string, string> = {
  scorers: "One explanation, two scorers. They have different units, so places are compared: the share of all explanations of the run that a scorer puts below this one.",
  judges: "One explanation and one scorer, two judges.",
  explainers: "One latent, scorer and judge, two explainers that are no floors.",
};

export function Differences({ run, route }: { run: RunEntry; route: Route }) {
  const [lists, error] = useData<DifferenceList[]>(`${run.key}/differences`);
  if (!lists) return <><h1>Disagreements</h1><Waiting error={error} /></>;
  const chosen = lists.find((l) => l.sort === route.query.between) ?? lists.find((l) => l.n) ?? lists[0];
  const rows = chosen?.shown.filter((d) => !d.is_floor || route.query.floors !== "1") ?? [];
  const places = chosen?.unit === "places";
  const side = (s: DifferenceSide) => <span><bdi>{s.name}</bdi> <strong>{number(s.value)}</strong>{places ? <small class="soft"> above {percent(s.place)}</small> : ""}</span>;
  return (
    <>
      <h1>Disagreements</h1>
      <Tabs route={{ ...route, query: { ...route.query, between: chosen?.sort ?? "scorers" } }} name="between" tabs={lists.map((l): [string, string] => [l.sort, `${l.sort} (${count(l.n)})`])} />
      {chosen && <>
        <p class="soft">{SAID[chosen.sort]} {chosen.sort === "explainers" ? "" : "A scorer or judge that puts a floor high is fooled there. "}
          {chosen.shown.length < chosen.n ? `${count(rows.length)} of ${count(chosen.n)}, the largest of explanations and of floors apart.` : ""}</p>
        {chosen.shown.some((d) => d.is_floor) && <div class="filters"><Check route={route} name="floors" label="Hide floors" /></div>}
        <Grid caption={`Differences between ${chosen.sort}`} rows={rows} tone={(d) => (d.is_floor ? "floor" : "")} sort={route.query.sort} onSort={(sort) => change(route, { sort })}
          columns={[
            { key: "latent", label: "Latent", order: (d) => d.latent, cell: (d) => <a href={link(["latent", run.key, d.latent])}><bdi>{d.latent}</bdi></a> },
            { key: "about", label: chosen.sort === "explainers" ? "Scorer and judge" : "Explainer", order: (d) => d.about, cell: (d) => <span><bdi>{d.about}</bdi>{d.is_floor ? " (floor)" : ""}</span> },
            { key: "metric", label: "Metric", cell: (d) => d.metric },
            { key: "more", label: "Higher", wide: true, cell: (d) => side(d.more) },
            { key: "less", label: "Lower", wide: true, cell: (d) => side(d.less) },
            { key: "size", label: places ? "Places apart" : "Apart", numeric: true, down: true, order: (d) => d.size, cell: (d) => (places ? percent(d.size) : number(d.size)) },
          ]} />
      </>}
    </>
  );
}

export function Failures({ run }: { run: RunEntry }) {
  const [list, error] = useData<FailureList>(`${run.key}/failures`);
  if (!list) return <><h1>Failures</h1><Waiting error={error} /></>;
  return (
    <>
      <h1>Failures</h1>
      <p>{list.n ? `${count(list.n)} of ${count(list.attempted)} explanations and judgements have no answer (${percent(list.n / list.attempted, 1)}). They lower the coverage and never the score.`
        : `All ${count(list.attempted)} explanations and judgements have an answer.`}
        {list.n && !list.has_calls ? " This run kept no replies." : ""}</p>
      {list.causes.map((cause, i) => (
        <Fold key={cause.cause} open={i === 0} title={<><strong>{count(cause.n)}</strong> <Long text={cause.cause} most={200} /></>}>
          {cause.shown.length < cause.n && <p class="soft">{cause.shown.length} of them, at equal steps.</p>}
          <ul class="failures">
            {cause.shown.map((f, j) => (
              <li key={j}>
                <p><a href={link(["latent", run.key, f.latent])}><bdi>{f.latent}</bdi></a>{" "}
                  <span class="soft">{f.stage}, <bdi>{[f.explainer, f.scorer, f.judge].filter(Boolean).join(" \u00b7 ")}</bdi>{f.part ? `, ${f.part}` : ""}{f.item !== null ? `, window ${f.item}` : ""}</span></p>
                {f.error && <p class="error"><Long text={f.error} most={300} /></p>}
                {f.reasoning && <div class="message"><h4>reasoning</h4><pre><Long text={f.reasoning} /></pre></div>}
                {f.reply !== null ? <div class="message reply"><h4>reply</h4><pre><Long text={f.reply} /></pre></div>
                  : <p class="soft">{list.has_calls ? "No reply came." : ""}</p>}
              </li>
            ))}
          </ul>
        </Fold>
      ))}
    </>
  );
}
