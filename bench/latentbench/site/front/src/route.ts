// The address is the state: everything that somebody chose stands behind the #, so that what is seen can be sent to others.
import { useEffect, useState } from "preact/hooks";

export interface Route { path: string[]; query: Record<string, string> }

export function parse(hash: string): Route {
  const [place = "", asked = ""] = hash.replace(/^#\/?/, "").split("?");
  return { path: place.split("/").filter(Boolean).map(decoded), query: Object.fromEntries(new URLSearchParams(asked)) };
}

function decoded(text: string): string {
  try { return decodeURIComponent(text); } catch { return text; }
}

export function link(path: string[], query: Record<string, string | undefined> = {}): string {
  const kept = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== "");
  const asked = new URLSearchParams(kept).toString();
  return `#/${path.map(encodeURIComponent).join("/")}${asked ? `?${asked}` : ""}`;
}

export function change(route: Route, more: Record<string, string | undefined>): void {
  history.replaceState(null, "", link(route.path, { ...route.query, ...more }));
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}

export function useRoute(): Route {
  const [route, set] = useState(() => parse(location.hash));
  useEffect(() => {
    const heard = () => set(parse(location.hash));
    window.addEventListener("hashchange", heard);
    return () => window.removeEventListener("hashchange", heard);
  }, []);
  return route;
}
