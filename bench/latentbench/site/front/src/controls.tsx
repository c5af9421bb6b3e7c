// What a reader chooses: filters, a search, columns. All of it goes into the address.
import { useEffect, useState } from "preact/hooks";
import { change, type Route } from "./route";

export function Choice({ route, name, label, options, all = "all" }: {
  route: Route; name: string; label: string; options: readonly (string | [string, string])[]; all?: string | null;
}) {
  const pairs = options.map((option): [string, string] => (typeof option === "string" ? [option, option] : option));
  if (pairs.length < 2 && all !== null) return null;
  return (
    <label>{label}{" "}
      <select name={name} value={route.query[name] ?? (all === null ? pairs[0]?.[0] : "")}
        onChange={(e) => change(route, { [name]: e.currentTarget.value || undefined })}>
        {all !== null && <option value="">{all}</option>}
        {pairs.map(([value, text]) => <option value={value} key={value}>{text}</option>)}
      </select>
    </label>
  );
}

export function Search({ route, label }: { route: Route; label: string }) {
  const [text, set] = useState(route.query.search ?? "");
  useEffect(() => {
    if (text === (route.query.search ?? "")) return;
    const later = setTimeout(() => change(route, { search: text || undefined }), 120);
    return () => clearTimeout(later);
  }, [text]);
  return <label>{label} <input type="search" value={text} onInput={(e) => set(e.currentTarget.value)} /></label>;
}

export function Check({ route, name, label }: { route: Route; name: string; label: string }) {
  return (
    <label class="check">
      <input type="checkbox" checked={route.query[name] === "1"}
        onChange={(e) => change(route, { [name]: e.currentTarget.checked ? "1" : undefined })} />{" "}{label}
    </label>
  );
}

export function Columns({ route, all, usual }: { route: Route; all: [string, string][]; usual: string[] }) {
  const chosen = columnsOf(route, usual);
  const turn = (key: string) => {
    const next = all.map(([k]) => k).filter((k) => (k === key ? !chosen.includes(k) : chosen.includes(k)));
    change(route, { columns: next.join() === usual.join() ? undefined : next.join("~") || "none" });
  };
  return (
    <details class="columns">
      <summary>Columns</summary>
      <fieldset><legend class="unseen">Columns that are shown</legend>
        {all.map(([key, label]) => (
          <label class="check" key={key}><input type="checkbox" checked={chosen.includes(key)} onChange={() => turn(key)} /> {label}</label>
        ))}
      </fieldset>
    </details>
  );
}

export function columnsOf(route: Route, usual: string[]): string[] {
  return route.query.columns === undefined ? usual : route.query.columns.split("~");
}

export function Tabs({ route, name, tabs }: { route: Route; name: string; tabs: [string, string][] }) {
  const chosen = route.query[name] ?? tabs[0]?.[0];
  return (
    <div class="tabs" role="group" aria-label="View">
      {tabs.map(([key, label], i) => (
        <button type="button" key={key} aria-pressed={chosen === key}
          onClick={() => change(route, { [name]: i ? key : undefined })}>{label}</button>
      ))}
    </div>
  );
}

export const distinct = (values: (string | null)[]): string[] =>
  [...new Set(values.filter((v): v is string => v !== null))].sort();
