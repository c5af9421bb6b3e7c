// A run that goes on: how far it is, what failed, what was said last. No scores: a mean over the latents that were done first is none.
import { useEffect, useState } from "preact/hooks";
import { load } from "./data";
import { Grid } from "./grid";
import { count, percent } from "./number";
import { Long, Waiting } from "./text";
import type { LiveRun } from "./types";

const EVERY = 2000;

export function Live() {
  const [runs, set] = useState<LiveRun[] | null>(null);
  const [error, fail] = useState<string | null>(null);
  useEffect(() => {
    let timer = 0;
    const look = () => load<LiveRun[]>("live", true).then((found) => {
      if (found.length && found.every((run) => run.status === "complete")) { location.reload(); return; }
      set(found);
      fail(null);
      timer = window.setTimeout(look, EVERY);
    }, (e: Error) => { fail(`${e.message} Is the server still there?`); timer = window.setTimeout(look, 3 * EVERY); });
    void look();
    return () => clearTimeout(timer);
  }, []);
  if (!runs) return <Waiting error={error} />;
  return (
    <>
      <h1>Under way</h1>
      <p>Scores and ranks come when a run has ended: a mean over the latents that happened to be done first compares explainers on different latents.</p>
      {error && <p class="error" role="alert">{error}</p>}
      {runs.map((run) => (
        <section key={run.id}>
          <h2><bdi>{run.id}</bdi></h2>
          <p class="soft"><bdi>{run.suite}</bdi>, {count(run.latents)} latents, {run.status}, started {run.started}</p>
          {run.error && <p class="error">{run.error}</p>}
          <Grid caption={`Stages of ${run.id}`} rows={run.stages} sort={undefined} onSort={() => undefined} page={200}
            columns={[
              { key: "stage", label: "Stage", cell: (s) => s.stage },
              { key: "label", label: "Of", wide: true, cell: (s) => <bdi>{s.label}</bdi> },
              { key: "bar", label: "Progress", wide: true, cell: (s) => <progress max={s.of} value={s.done} aria-label={`${s.stage} ${s.label}`} /> },
              { key: "done", label: "Latents", numeric: true, cell: (s) => `${count(s.done)} of ${count(s.of)} (${percent(s.of ? s.done / s.of : null)})` },
              { key: "lost", label: "Without answer", numeric: true, cell: (s) => count(Object.entries(s.outcomes).reduce((n, [k, v]) => n + (k === "ok" ? 0 : v), 0)) },
            ]} />
          {run.causes.length > 0 && <><h3>Why there is no answer</h3><ul>{run.causes.map(([cause, n]) => <li key={cause}><strong>{count(n)}</strong> <Long text={cause} /></li>)}</ul></>}
          {run.texts.length > 0 && <><h3>Explained last</h3><ul>{run.texts.map((t) => (
            <li key={t.explainer + t.latent}><bdi>{t.latent}</bdi> <span class="soft"><bdi>{t.explainer}</bdi></span> <Long text={t.text} most={300} /></li>))}</ul></>}
        </section>
      ))}
    </>
  );
}
