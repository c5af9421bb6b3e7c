// The list of all latents of a run.
import { useEffect, useMemo, useState } from "preact/hooks";
import { Choice, Search } from "./controls";
import { load } from "./data";
import { Grid, type Column } from "./grid";
import { count, number, percent } from "./number";
import { change, link, type Route } from "./route";
import { Waiting } from "./text";
import type { LatentList, PeopleData, RunEntry, TextList } from "./types";

export function useData<T>(name: string | null): [T | null, string | null] {
  const [held, set] = useState<{ name: string; value: T } | null>(null);
  const [error, fail] = useState<string | null>(null);
  useEffect(() => {
    let wanted = true;
    fail(null);
    if (name) load<T>(name).then((value) => wanted && set({ name, value }), (e: Error) => wanted && fail(e.message));
    return () => { wanted = false; };
  }, [name]);
  return [held && held.name === name ? held.value : null, error];
}

export function Latents({ run, route }: { run: RunEntry; route: Route }) {
  const [list, error] = useData<LatentList>(`${run.key}/latents`);
  const [texts] = useData<TextList>(`${run.key}/texts`);
  const [people] = useData<PeopleData>(run.raters ? `${run.key}/people` : null);
  const q = route.query;
  const told = texts?.explainers.includes(q.explainer ?? "") ? q.explainer : texts?.explainers[0];
  const search = (q.search ?? "").toLowerCase();
  const rows = useMemo(() => {
    if (!list) return [];
    const lines = texts && told ? texts.texts[texts.explainers.indexOf(told)] : undefined;
    return list.ids.map((_, i) => i).filter((i) => (!q.coder || list.coders[list.coder[i] ?? 0] === q.coder)
      && (!search || list.ids[i]?.toLowerCase().includes(search) || lines?.[i]?.toLowerCase().includes(search)));
  }, [list, texts, told, q.coder, search]);
  const columns = useMemo((): Column<number>[] => {
    if (!list) return [];
    const explainer = list.explainers.findIndex((e) => e.label === (q.explainer ?? told ?? list.explainers[0]?.label));
    const lines = texts && told ? texts.texts[texts.explainers.indexOf(told)] : undefined;
    return [
      { key: "latent", label: "Latent", order: (i) => i, cell: (i) => <a href={link(["latent", run.key, list.ids[i] ?? ""])}><bdi>{list.ids[i]}</bdi></a> },
      { key: "text", label: `Explanation by ${told ?? "\u2026"}`, wide: true, cell: (i) => <span class="said">{lines?.[i] || <span class="soft">none</span>}</span> },
      ...list.gradings.map((g, at): Column<number> => ({ key: `s${at}`, label: `${g.scorer} ${g.headline}`, numeric: true, down: true,
        order: (i) => list.scores[Math.max(0, explainer)]?.[at]?.[i] ?? null,
        cell: (i) => number(list.scores[Math.max(0, explainer)]?.[at]?.[i]) })),
      ...(people ? [{ key: "people", label: "People, 1 to 5", numeric: true, down: true, order: (i) => people.mean[Math.max(0, explainer)]?.[i] ?? null,
        cell: (i) => number(people.mean[Math.max(0, explainer)]?.[i], 1) } satisfies Column<number>] : []),
      { key: "rate", label: "Fires on", numeric: true, down: true, order: (i) => list.rate[i] ?? null, cell: (i) => percent(list.rate[i] ?? null, 3) },
      { key: "coverage", label: "Coverage", numeric: true, order: (i) => list.coverage[i] ?? null, cell: (i) => percent(list.coverage[i] ?? null) },
    ];
  }, [list, texts, told, q.explainer, people]);
  if (!list) return <><h1>Latents</h1><Waiting error={error} /></>;
  return (
    <>
      <h1>Latents</h1>
      <p class="soft"><bdi>{list.run}</bdi>: {count(list.ids.length)} latents of <bdi>{list.suite}</bdi>, split {list.split}. Scores are of one explainer, over
        repeats; floors {list.gradings.map((g) => `${g.scorer} ${number(g.floor, 2)}`).join(", ")}.
        {list.has_windows ? "" : " The suite was not found under its digest when this was written, so there are no windows."}</p>
      <form class="filters" onSubmit={(e) => e.preventDefault()} aria-label="Filters">
        <Search route={route} label="Search" />
        <Choice route={route} name="explainer" label="Explainer" options={[...list.explainers].sort((a, b) => Number(a.is_floor) - Number(b.is_floor)).map((e): [string, string] => [e.label, e.is_floor ? `${e.label} (floor)` : e.label])}
          all={null} />
        <Choice route={route} name="coder" label="Coder" options={list.coders} />
      </form>
      <Grid caption="Latents" columns={columns} rows={rows} sort={q.sort} onSort={(sort) => change(route, { sort })} name={(i) => list.ids[i] ?? ""} />
    </>
  );
}
