// A sentence, layer by layer: its tokens, a box for each latent that fires, and one of them at a time looked at closely.
import { Choice, distinct } from "./controls";
import { useData } from "./latents";
import { count, number, percent } from "./number";
import { change, link, type Route } from "./route";
import { Fold, Long, Waiting } from "./text";
import type { SentenceWalk, SiteIndex, WalkText, WalkedLatent } from "./types";

const word = (token: string) => token.replace(/\n/g, "\u21b5");

function told(latent: WalkedLatent, explainer: string | undefined): WalkText | undefined {
  return latent.texts.find((t) => t.explainer === explainer) ?? latent.texts.find((t) => !t.is_floor) ?? latent.texts[0];
}

function floorOf(latent: WalkedLatent, scorer: string, judge: string): number | null {
  const values = latent.texts.filter((t) => t.is_floor).flatMap((t) => t.scores)
    .filter((s) => s.scorer === scorer && s.judge === judge && s.value !== null).map((s) => s.value as number);
  return values.length ? Math.max(...values) : null;
}

/** The sentence: in the colours of the layers, or, once a latent is chosen, shaded by its activation on every token. */
function Sentence({ walk, chosen, choose }: { walk: SentenceWalk; chosen: WalkedLatent | undefined; choose: (id: string) => void }) {
  const top = chosen ? Math.max(...chosen.activations, 0) : 0;
  return (
    <p class="sentence" role="group" aria-label="The sentence, token by token">
      {walk.tokens.map((token, i) => {
        const here = walk.latents.filter((latent) => latent.place === i);
        const value = chosen?.activations[i] ?? 0;
        const shade = value > 0 ? <mark style={{ "--a": top > 0 ? value / top : 0 }}>{word(token)}</mark> : <span>{word(token)}</span>;
        if (!here.length) return <span key={i} title={value > 0 ? number(value, 2) : undefined}>{shade}</span>;
        const next = here[(here.findIndex((latent) => latent.id === chosen?.id) + 1) % here.length] ?? here[0];
        return (
          <button type="button" key={i} class={`token layer-${layer(walk, here[0])}`} aria-pressed={here.some((l) => l.id === chosen?.id)}
            title={value > 0 ? number(value, 2) : undefined} onClick={() => next && choose(next.id)}>
            {shade}<sup>{here.map((latent) => walk.latents.indexOf(latent) + 1).join(",")}</sup>
          </button>
        );
      })}
    </p>
  );
}

const layer = (walk: SentenceWalk, latent: WalkedLatent | undefined) =>
  Math.max(0, walk.coders.findIndex((c) => c.name === latent?.coder)) % 6;

function Scores({ latent, text }: { latent: WalkedLatent; text: WalkText | undefined }) {
  if (!text?.scores.length) return <p class="soft">No score.</p>;
  return (
    <ul class="walk-scores">
      {text.scores.map((s, i) => (
        <li key={i}><bdi>{s.scorer}</bdi> <strong>{s.value === null ? "\u2013" : number(s.value, 2)}</strong>{" "}
          <span class="soft">{s.metric}; floor {number(floorOf(latent, s.scorer, s.judge), 2)}; {count(s.judged)} of {count(s.attempted)} judged by <bdi>{s.judge}</bdi></span></li>))}
    </ul>
  );
}

function Box({ walk, latent, chosen, explainer, choose }: {
  walk: SentenceWalk; latent: WalkedLatent; chosen: boolean; explainer: string | undefined; choose: (id: string) => void;
}) {
  const text = told(latent, explainer);
  return (
    <li class={`box layer-${layer(walk, latent)}`}>
      <button type="button" aria-pressed={chosen} onClick={() => choose(latent.id)}>
        <b>{walk.latents.indexOf(latent) + 1}</b> <code>{word(walk.tokens[latent.place] ?? "")}</code> <bdi>{latent.id}</bdi>
        <span class="soft">{latent.share === null ? "" : ` ${percent(latent.share)} of its maximum`}</span>
      </button>
      <p>{text?.text ? <Long text={text.text} most={180} /> : <span class="soft">No explanation.</span>}</p>
      <Scores latent={latent} text={text} />
    </li>
  );
}

function Closely({ latent, run }: { latent: WalkedLatent; run: string | undefined }) {
  return (
    <section aria-live="polite">
      <h2><bdi>{latent.id}</bdi> <small class="soft">at {latent.hookpoint}</small></h2>
      {run && <p><a href={link(["latent", run, latent.id])}>Its windows and every verdict</a></p>}
      {latent.texts.map((t) => (
        <Fold key={t.explainer} open={!t.is_floor} title={<><bdi>{t.explainer}</bdi>{t.is_floor ? " (floor)" : ""}</>}>
          <p><Long text={t.text || "No explanation."} /></p>
          <Scores latent={latent} text={t} />
        </Fold>))}
    </section>
  );
}

export function Walk({ site, route }: { site: SiteIndex; route: Route }) {
  const at = Math.min(Math.max(Number(route.query.walk ?? 0) || 0, 0), site.walks.length - 1);
  const [walk, error] = useData<SentenceWalk>(`walk-${at}`);
  if (!walk) return <Waiting error={error} />;
  const place = walk.latents.findIndex((latent) => latent.id === route.query.latent);
  const chosen = walk.latents[place];
  const choose = (id: string) => change(route, { latent: id === chosen?.id ? undefined : id });
  const step = (by: number) => walk.latents[place < 0 ? (by > 0 ? 0 : walk.latents.length - 1) : place + by]?.id;
  const explainers = distinct(walk.latents.flatMap((latent) => latent.texts.map((t) => t.explainer)));
  const run = site.runs.find((r) => walk.runs.includes(r.id))?.key;
  const before = step(-1), after = step(1);
  return (
    <>
      <h1>A sentence, layer by layer</h1>
      <div class="filters">
        {site.walks.length > 1 && <Choice route={route} name="walk" label="Sentence" all={null} options={site.walks.map((s, i): [string, string] => [String(i), s.slice(0, 60)])} />}
        <Choice route={route} name="explainer" label="Explanations by" options={explainers} all="the first" />
        <button type="button" disabled={!before} onClick={() => before && change(route, { latent: before })}>{"\u2190"} Before</button>
        <button type="button" disabled={!after} onClick={() => after && change(route, { latent: after })}>Next {"\u2192"}</button>
      </div>
      <Sentence walk={walk} chosen={chosen} choose={choose} />
      <p class="soft">{chosen ? <>Shaded by the activation of <bdi>{chosen.id}</bdi>, full at its largest here.</>
        : "A token with a number has a box below. Choose one, and the sentence is shaded by that latent's activation."}</p>
      {chosen && <Closely key={chosen.id} latent={chosen} run={run} />}
      {walk.coders.map((coder) => (
        <section key={coder.name}>
          <h2>{coder.hookpoint} <small class="soft"><bdi>{coder.name}</bdi>: {count(coder.fired)} latents fire, {count(coder.known)} could be shown</small></h2>
          <ul class="boxes">
            {walk.latents.filter((latent) => latent.coder === coder.name).map((latent) => (
              <Box key={latent.id} walk={walk} latent={latent} chosen={latent.id === chosen?.id} explainer={route.query.explainer} choose={choose} />))}
          </ul>
        </section>))}
      {walk.limits.map((limit, i) => <p class="soft" key={i}>{limit}</p>)}
      <p class="soft">Suite {walk.suite}. The floor is the best score of a text that knows nothing of the latent.</p>
    </>
  );
}
