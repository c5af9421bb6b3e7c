import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Differences, Failures } from "./doubts";
import { Explainers } from "./explainers";
import { Coders, Judges } from "./judges";
import { LatentPage } from "./latent";
import { Latents, useData } from "./latents";
import { Live } from "./live";
import { People } from "./people";
import { link, useRoute } from "./route";
import { Waiting } from "./text";
import { Walk } from "./walk";
import type { Boards, SiteIndex } from "./types";
import "./style.css";

const THEMES = ["as the system", "light", "dark"] as const;

function stored(): string {
  try { return localStorage.getItem("latentbench-theme") ?? ""; } catch { return ""; }
}

function Theme() {
  const [theme, set] = useState(stored);
  useEffect(() => {
    if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
    try { localStorage.setItem("latentbench-theme", theme); } catch { /* a page from disk may keep nothing */ }
  }, [theme]);
  return (
    <label>Colours{" "}
      <select value={theme} onChange={(e) => set(e.currentTarget.value)}>
        {THEMES.map((name, i) => <option key={name} value={i ? name : ""}>{name}</option>)}
      </select>
    </label>
  );
}

function App() {
  const route = useRoute();
  const [site, error] = useData<SiteIndex>("site");
  const [boards, failed] = useData<Boards>(site && !site.live ? "boards" : null);
  const main = useRef<HTMLElement>(null);
  const page = route.path[0] ?? (site && !site.tables && site.walks.length ? "walk" : "explainers");
  const place = route.path.join("/");
  const seen = useRef(place);
  useEffect(() => {
    document.title = `${site?.title ?? "latentbench"} \u00b7 ${route.path[2] ? route.path.slice(2).join("/") : page}`;
    if (seen.current === place) return;
    seen.current = place;
    window.scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [place, site]);
  if (!site) return <Waiting error={error} />;
  const run = site.runs.find((r) => r.key === route.path[1]) ?? site.runs[0];
  const pages: [string, string, string[]][] = [["explainers", "Explainers", ["explainers"]], ["judges", "Judges", ["judges"]], ["coders", "Coders", ["coders"]]];
  if (run) pages.push(["latents", "Latents", ["latents", run.key]], ["differences", "Disagreements", ["differences", run.key]], ["failures", "Failures", ["failures", run.key]]);
  if (run?.raters) pages.push(["people", "People", ["people", run.key]]);
  if (site.walks.length) pages.push(["walk", "A sentence", ["walk"]]);
  return (
    <>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); main.current?.focus(); }}>Skip to the content</a>
      <header>
        <p class="title"><bdi>{site.title}</bdi></p>
        {!site.live && <nav aria-label="Pages"><ul>{pages.map(([key, label, path]) => (
          <li key={key}><a href={link(path)} aria-current={page === key || (key === "latents" && page === "latent") ? "page" : undefined}>{label}</a></li>))}</ul></nav>}
        <Theme />
      </header>
      <main id="main" tabIndex={-1} ref={main}>
        {site.live ? <Live />
          : <>
            {site.runs.length > 1 && !["explainers", "judges", "coders", "walk"].includes(page) && run && (
              <label class="run">Run{" "}
                <select value={run.key} onChange={(e) => { location.hash = link([page === "latent" ? "latents" : page, e.currentTarget.value]); }}>
                  {site.runs.map((r) => <option key={r.key} value={r.key}>{r.id}</option>)}
                </select>
              </label>
            )}
            {page === "latents" && run ? <Latents key={run.key} run={run} route={route} />
              : page === "latent" && run ? <LatentPage key={place} run={run} route={route} />
              : page === "differences" && run ? <Differences key={run.key} run={run} route={route} />
              : page === "failures" && run ? <Failures key={run.key} run={run} />
              : page === "people" && run?.raters ? <People key={run.key} run={run} />
              : page === "walk" && site.walks.length ? <Walk site={site} route={route} />
              : !boards ? <Waiting error={failed} />
              : page === "judges" ? <Judges boards={boards} route={route} />
              : page === "coders" ? <Coders boards={boards} route={route} />
              : <Explainers boards={boards} route={route} />}
          </>}
      </main>
      <footer>{site.runs.map((r) => <p key={r.key} class="soft"><bdi>{r.id}</bdi>: <code>{r.command}</code></p>)}</footer>
    </>
  );
}

const root = document.getElementById("app");
if (root) {
  const theme = stored();
  if (theme) document.documentElement.dataset.theme = theme;
  root.textContent = "";
  render(<App />, root);
}
