// One latent: its windows, what was said of it, what that scored, and every verdict with the words behind it.
import { useEffect, useMemo, useState } from "preact/hooks";
import { Choice } from "./controls";
import { load } from "./data";
import { Grid } from "./grid";
import { useData } from "./latents";
import { count, number, percent } from "./number";
import { Density } from "./plots";
import { link, type Route } from "./route";
import { Fold, Long, Tokens, Waiting } from "./text";
import type { CallList, LatentList, PeopleData, RunEntry, Said, ShownCall, ShownLatent, ShownWindow, Steered, VerdictLine, VerdictTable } from "./types";

const FIRST = 8;

function Windows({ title, note, windows, top }: { title: string; note: string; windows: ShownWindow[]; top: number }) {
  const [all, open] = useState(false);
  if (!windows.length) return null;
  return (
    <section>
      <h2>{title} <small class="soft">{all ? windows.length : Math.min(FIRST, windows.length)} of {windows.length}</small></h2>
      <p class="soft">{note}</p>
      {(all ? windows : windows.slice(0, FIRST)).map((w) => <Tokens key={w.id} window={w} top={top} />)}
      {windows.length > FIRST && <button type="button" onClick={() => open(!all)}>{all ? "Show fewer" : `Show all ${windows.length}`}</button>}
    </section>
  );
}

function verdict(said: Said, truth: number, outcomes: string[]): { tone: string; sign: string; word: string; score: string } {
  const [place, score, answer] = said;
  const outcome = outcomes[place] ?? "?";
  const shown = score === null || score === undefined ? "" : number(score, 2);
  if (outcome !== "ok") return { tone: "none", sign: "\u2013", word: outcome, score: "" };
  if (answer === null || answer === undefined) return { tone: "even", sign: "\u00b7", word: "scored", score: shown };
  return answer === truth ? { tone: "better", sign: "\u2713", word: "right", score: shown } : { tone: "worse", sign: "\u2717", word: "wrong", score: shown };
}

export function Call({ call, texts }: { call: ShownCall; texts: string[] }) {
  const text = (at: number | null) => (at === null ? null : texts[at] ?? "");
  const reply = text(call.reply), reasoning = text(call.reasoning);
  return (
    <article class="call">
      <p class="soft">{call.stage}, {call.form}{call.member ? `, asked of ${call.member}` : ""}{call.round ? `, round ${call.round + 1}` : ""}: {call.outcome}
        {call.finish ? `, ended by ${call.finish}` : ""}{call.cause ? <>: <Long text={call.cause} /></> : ""}</p>
      {call.messages.map(([role, at], i) => <div class="message" key={i}><h4>{role}</h4><pre><Long text={text(at) ?? ""} most={4000} /></pre></div>)}
      {reasoning !== null && <div class="message"><h4>reasoning</h4><pre><Long text={reasoning} most={4000} /></pre></div>}
      {reply !== null && <div class="message reply"><h4>reply</h4><pre><Long text={reply} most={4000} /></pre></div>}
      {call.probabilities.length > 0 && <p class="soft">p: {call.probabilities.slice(0, 64).map((p, i) =>
        `${call.answers.length ? `${call.answers[i % call.answers.length]} ` : ""}${number(p, 3)}`).join(", ")}{call.probabilities.length > 64 ? " \u2026" : ""}</p>}
      {call.value !== null && <p class="soft">value {number(call.value)}</p>}
    </article>
  );
}

function Words({ name, owner, line, repeat, has }: { name: string; owner: string; line: VerdictLine; repeat: number; has: boolean }) {
  const [held, error] = useData<CallList>(has ? name : null);
  if (!has) return <p class="soft">This run kept no words of its calls (`keep: none`, or an earlier version).</p>;
  if (!held) return <Waiting error={error} />;
  const mine = held.calls.filter((c) => c.owner === owner && c.repeat === repeat && c.trial === line.trial);
  const exact = mine.filter((c) => line.item !== null && c.items.includes(line.item));
  const shown = exact.length ? exact : mine;
  return shown.length ? <>{shown.map((c, i) => <Call key={i} call={c} texts={held.texts} />)}</> : <p class="soft">No call of this verdict was kept.</p>;
}

function Line({ line, table, list, window, top, calls }: {
  line: VerdictLine; table: VerdictTable; list: LatentList; window: ShownWindow | undefined; top: number; calls: string;
}) {
  const [open, set] = useState<number | null>(null);
  const floors = new Set(list.explainers.filter((e) => e.is_floor).map((e) => e.label));
  return (
    <li class="verdict">
      {window ? <Tokens window={window} top={top} /> : <p class="soft">{line.part || "text"} {line.kind}{line.item !== null ? ` (window ${line.item})` : ""}</p>}
      <p class="chips"><span class="soft">{line.part ? `${line.part}, ` : ""}truth {line.truth}</span>
        {line.said.map((said, i) => {
          if (!said) return null;
          const v = verdict(said, line.truth, list.outcomes), label = table.explainers[i] ?? "";
          return (
            <button type="button" key={i} class={`chip ${v.tone} ${floors.has(label) ? "floor" : ""}`} aria-expanded={open === i} onClick={() => set(open === i ? null : i)}>
              <span aria-hidden="true">{v.sign}</span> <bdi>{label}</bdi> <span>{v.word} {v.score}</span>
            </button>
          );
        })}
      </p>
      {open !== null && <div class="words">
        {line.said[open]?.[3] && <p class="error"><Long text={line.said[open]?.[3] ?? ""} /></p>}
        <Words name={calls} owner={table.cells[open] ?? ""} line={line} repeat={table.repeat} has={list.has_calls} />
      </div>}
    </li>
  );
}

function Verdicts({ latent, list, calls, route }: { latent: ShownLatent; list: LatentList; calls: string; route: Route }) {
  const [all, open] = useState(false);
  const options = latent.verdicts.map((v, i): [string, string] => [String(i), `${v.scorer} \u00b7 ${v.judge}${v.repeat ? `, repeat ${v.repeat + 1}` : ""}`]);
  const at = Math.min(Number(route.query.grading ?? 0) || 0, latent.verdicts.length - 1);
  const table = latent.verdicts[at];
  const windows = useMemo(() => new Map(latent.windows.map((w) => [w.id, w])), [latent]);
  if (!table) return null;
  const decided = table.lines.flatMap((l) => l.said.map((s) => (s && s[2] != null ? s[2] === l.truth : null))).filter((x) => x !== null);
  const lost = table.lines.flatMap((l) => l.said).filter((s) => s && list.outcomes[s[0]] !== "ok").length;
  const only = table.lines.filter((l) => route.query.only === "wrong" ? l.said.some((s) => s && s[2] != null && s[2] !== l.truth)
    : route.query.only === "none" ? l.said.some((s) => s && list.outcomes[s[0]] !== "ok") : true);
  return (
    <section>
      <h2 id="verdicts">What the judge said of each test window</h2>
      <div class="filters">
        <Choice route={route} name="grading" label="Scorer and judge" options={options} all={null} />
        <Choice route={route} name="only" label="Windows" options={[["wrong", "with a wrong answer"], ["none", "with no answer"]]} all="all" />
      </div>
      <p class="soft">{decided.length ? `${decided.filter(Boolean).length} of ${decided.length} answers right, over all explainers` : "This scorer gives scores and no answers"}
        {lost ? `; ${lost} without an answer` : ""}. Beside each is the judge{"\u2019"}s p or score; dashed verdicts are of floors. <span class="screen-only">Choose a verdict for the words behind it.</span></p>
      <ol class="verdicts">
        {(all ? only : only.slice(0, 2 * FIRST)).map((line, i) => (
          <Line key={`${at} ${i}`} line={line} table={table} list={list} calls={calls} top={latent.scale} window={line.item === null ? undefined : windows.get(line.item)} />))}
      </ol>
      {only.length > 2 * FIRST && <button type="button" onClick={() => open(!all)}>{all ? "Show fewer" : `Show all ${only.length}`}</button>}
    </section>
  );
}

function SteeredTexts({ steered }: { steered: Steered[] }) {
  const told = steered.filter((s) => s.clean || s.steered);
  if (!told.length) return null;
  return (
    <section>
      <h2>Steered and clean</h2>
      <p class="soft">What the subject writes after a prompt with the latent added or ablated, beside what it writes without, from the same random numbers.</p>
      {told.slice(0, 40).map((s, i) => (
        <div class="steered" key={i}>
          <p><span class="kind">{s.mode}{s.target !== null ? ` to KL ${number(s.target, 2)}` : ""}{s.reached ? "" : " (not reached)"}</span> <span class="said">{s.prompt}</span></p>
          <div class="two"><div><h4>clean</h4><Long text={s.clean} /></div><div><h4>steered, KL {number(s.kl, 2)}</h4><Long text={s.steered} /></div></div>
        </div>
      ))}
      {told.length > 40 && <p class="soft">40 of {told.length}; the rest is in the suite{"\u2019"}s table of interventions.</p>}
    </section>
  );
}

function Scores({ latent, list, people, place }: { latent: ShownLatent; list: LatentList; people: PeopleData | null; place: number }) {
  const label = (i: number) => list.explainers[i]?.label ?? "";
  const repeats = new Set(latent.texts.map((t) => t.repeat)).size;
  const order = list.explainers.map((_, i) => i).sort((a, b) => Number(list.explainers[a]?.is_floor) - Number(list.explainers[b]?.is_floor));
  return (
    <section>
      <h2>Explanations and their scores</h2>
      <p class="soft">On this latent alone, so without an interval. {latent.scores.map((s) => {
        const asked = Math.max(...s.attempted.map((n) => n ?? 0)), floor = list.gradings.find((g) => g.scorer === s.scorer)?.floor ?? null;
        return `${s.scorer} by ${s.judge}: ${count(asked)} asked of each, declared floor ${number(floor, 2)}`;
      }).join("; ")}. Grey rows are measured floors, texts that know nothing of the latent: what scores no more than they do has shown nothing here.</p>
      <Grid caption="Explanations and their scores" rows={order} sort={undefined} onSort={() => undefined} tone={(i) => (list.explainers[i]?.is_floor ? "floor" : "")}
        columns={[
          { key: "explainer", label: "Explainer", cell: (i) => <span><bdi>{label(i)}</bdi>{list.explainers[i]?.is_floor ? <span class="soft"> (floor)</span> : ""}</span> },
          { key: "text", label: "Explanation", wide: true, cell: (i) => latent.texts.filter((t) => t.explainer === label(i)).map((t) => (
            <p key={t.repeat}>{repeats > 1 && <span class="kind">{t.repeat + 1}</span>}{t.text ? <Long text={t.text} /> : <em>{t.outcome === "ok" ? "(empty)" : `(${t.outcome}: ${t.error ?? ""})`}</em>}</p>)) },
          ...latent.scores.map((s) => ({ key: `${s.scorer} ${s.judge}`, label: `${s.scorer} ${s.metrics[0]?.[0] ?? ""}`, numeric: true,
            cell: (i: number) => <span title={`${s.judge}: ${s.judged[i]} of ${s.attempted[i]} judged`}>{number(s.metrics[0]?.[1][i])}
              {s.judged[i] !== s.attempted[i] && <small class="soft"> {s.judged[i]}/{s.attempted[i]}</small>}</span> })),
          ...(people ? [{ key: "people", label: "People, 1 to 5", numeric: true, cell: (i: number) => (people.ratings[i]?.[place]
            ? <span>{number(people.mean[i]?.[place], 1)} <small class="soft">of {count(people.ratings[i]?.[place] ?? 0)}</small></span> : "") }] : []),
        ]} />
      <Fold title="Every metric">
        {latent.scores.map((s) => (
          <Grid key={`${s.scorer} ${s.judge}`} caption={`${s.scorer} judged by ${s.judge}`} rows={s.metrics} sort={undefined} onSort={() => undefined} page={200}
            columns={[{ key: "metric", label: `${s.scorer} \u00b7 ${s.judge}`, cell: ([name]) => name },
              ...order.map((i) => ({ key: label(i), label: label(i), numeric: true, cell: ([, values]: [string, (number | null)[]]) => number(values[i]) }))]} />
        ))}
      </Fold>
    </section>
  );
}

export function LatentPage({ run, route }: { run: RunEntry; route: Route }) {
  const [list, failed] = useData<LatentList>(`${run.key}/latents`);
  const [people] = useData<PeopleData>(run.raters ? `${run.key}/people` : null);
  const id = route.path.slice(2).join("/");
  const place = list ? list.ids.indexOf(id) : -1;
  const page = list && place >= 0 ? Math.floor(place / list.page_size) : null;
  const [some, error] = useData<ShownLatent[]>(page === null ? null : `${run.key}/latent-${page}`);
  const latent = some?.[place % (list?.page_size ?? 1)];
  useEffect(() => {
    if (list && page !== null && place % list.page_size === list.page_size - 1 && place + 1 < list.ids.length) void load(`${run.key}/latent-${page + 1}`);
  }, [list, place]);
  if (list && place < 0) return <><h1>No such latent</h1><p>This run has no latent <bdi>{id}</bdi>. <a href={link(["latents", run.key])}>All latents</a></p></>;
  if (!list || !latent) return <><h1><bdi>{id}</bdi></h1><Waiting error={failed ?? error} /></>;
  const step = (by: number) => list.ids[place + by];
  const before = step(-1), after = step(1), calls = `${run.key}/calls-${place}`;
  const explain = latent.windows.filter((w) => w.role === "explain"), test = latent.windows.filter((w) => w.role === "test");
  return (
    <>
      <nav class="steps" aria-label="Latents">
        {before && <a href={link(["latent", run.key, before], route.query)}>{"\u2190"} <bdi>{before}</bdi></a>}
        <a href={link(["latents", run.key])}>all latents</a>
        {after && <a href={link(["latent", run.key, after], route.query)}><bdi>{after}</bdi> {"\u2192"}</a>}
      </nav>
      <h1><bdi>{latent.id}</bdi></h1>
      <dl class="facts-list">
        <div><dt>coder</dt><dd><bdi>{latent.coder}</bdi>{latent.kind ? ` (${latent.kind})` : ""}{latent.hookpoint ? ` at ${latent.hookpoint}` : ""}</dd></div>
        <div><dt>split</dt><dd>{latent.split}</dd></div>
        {latent.rates?.token != null && <div><dt>fires on</dt><dd>{percent(latent.rates.token, 3)} of tokens{latent.rates.context !== null ? `, ${percent(latent.rates.context, 1)} of contexts` : ""}</dd></div>}
        {latent.rates?.largest != null && <div><dt>largest activation</dt><dd>{number(latent.rates.largest, 2)}</dd></div>}
        {latent.promoted.length > 0 && <div><dt>promoted</dt><dd>{latent.promoted.map((t, i) => <code key={i}>{t}</code>)}</dd></div>}
        {latent.suppressed.length > 0 && <div><dt>suppressed</dt><dd>{latent.suppressed.map((t, i) => <code key={i}>{t}</code>)}</dd></div>}
        {latent.truth && <div><dt>planted truth</dt><dd><code>{latent.truth}</code></dd></div>}
        {latent.neighbours.length > 0 && <div><dt>neighbours</dt><dd>{latent.neighbours.map((n) => (
          <span class="neighbour" key={n.id}>{n.in_run ? <a href={link(["latent", run.key, n.id])}><bdi>{n.id}</bdi></a> : <bdi>{n.id}</bdi>} {number(n.cosine, 2)}</span>))}
          <small class="soft">cosine of decoder directions{latent.neighbours.some((n) => !n.in_run) ? "; without a link: not in this run" : ""}</small></dd></div>}
        {(latent.rates?.edges.length ?? 0) > 1 && <div><dt>density</dt><dd><Density edges={latent.rates?.edges ?? []} /><small class="soft">largest activation of its active windows, a tenth of them in each bar</small></dd></div>}
      </dl>
      <Scores latent={latent} list={list} people={people} place={place} />
      <Windows title="Windows that explainers saw" note="Strongest first; shading is activation, full at the strongest of all windows. quantile:9 is the tenth with its largest activations, quantile:0 that with its smallest." windows={explain} top={latent.scale} />
      <Verdicts latent={latent} list={list} calls={calls} route={route} />
      <Windows title="Test windows" note="Only scorers saw these." windows={test} top={latent.scale} />
      <SteeredTexts steered={latent.steered} />
      {list.has_calls && <Explaining name={calls} />}
    </>
  );
}

function Explaining({ name }: { name: string }) {
  const [open, set] = useState(false);
  const [held, error] = useData<CallList>(open ? name : null);
  const mine = held?.calls.filter((c) => c.stage === "explain");
  return (
    <section>
      <h2>What explainers were asked</h2>
      {!open ? <button type="button" onClick={() => set(true)}>Show prompts and replies</button>
        : !held ? <Waiting error={error} /> : mine?.length ? mine.map((c, i) => <div key={i}><h3><bdi>{c.owner}</bdi></h3><Call call={c} texts={held.texts} /></div>)
        : <p class="soft">No explainer asked a model about it.</p>}
    </section>
  );
}
