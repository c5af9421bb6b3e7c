// Texts from outside. They are text nodes and nothing else, cut where they would bury the page, and whole on request.
import type { ComponentChildren } from "preact";
import { useMemo, useState } from "preact/hooks";
import { count, number } from "./number";
import type { ShownWindow } from "./types";

export function Long({ text, most = 600 }: { text: string; most?: number }) {
  const [whole, open] = useState(false);
  if (text.length <= most * 1.2) return <span class="said">{text}</span>;
  return (
    <span class="said">
      {whole ? text : `${text.slice(0, most)}\u2026`}{" "}
      <button type="button" class="more" onClick={() => open(!whole)}>
        {whole ? "Show less" : `Show all ${count(text.length)} characters`}
      </button>
    </span>
  );
}

export function Waiting({ error }: { error: string | null }) {
  return <p class={error ? "wait error" : "wait"} role="status">{error ?? "Loading\u2026"}</p>;
}

export function Fold({ title, open, children }: { title: ComponentChildren; open?: boolean; children: ComponentChildren }) {
  return <details open={open}><summary>{title}</summary>{children}</details>;
}

const shown = (token: string) => token.replace(/\n/g, "\u21b5\n");

interface Piece { text: string; at: number; value: number }

/** Tokens with an activation each stand alone; silent ones between them are one text. */
function pieces(window: ShownWindow): Piece[] {
  const values = new Map(window.at.map((at, i) => [at, window.values[i] ?? 0]));
  const found: Piece[] = [];
  window.tokens.forEach((token, at) => {
    const value = values.get(at) ?? 0;
    const last = found.at(-1);
    if (value === 0 && last && last.value === 0) last.text += shown(token);
    else found.push({ text: shown(token), at, value });
  });
  return found;
}

/** A window: tokens shaded by activation. Pointing at one tells its value; with the keyboard, the arrows go from one to the next. */
export function Tokens({ window, top }: { window: ShownWindow; top: number }) {
  const parts = useMemo(() => pieces(window), [window]);
  const active = parts.filter((piece) => piece.value > 0);
  const [at, look] = useState<number | null>(null);
  const chosen = at === null ? undefined : active.find((piece) => piece.at === at);
  const move = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step || !active.length) return;
    event.preventDefault();
    const place = active.findIndex((piece) => piece.at === at);
    look(active[(place + step + active.length) % active.length]?.at ?? null);
  };
  const strongest = () => look([...active].sort((a, b) => b.value - a.value)[0]?.at ?? null);
  return (
    <div class="window">
      <div class="tokens" tabIndex={active.length ? 0 : undefined} role="group" onKeyDown={move} onFocus={strongest} onBlur={() => look(null)}
        onMouseLeave={() => look(null)} aria-label={`${window.role} window, ${window.kind}; arrows go through the active tokens`}>
        {parts.map((piece) =>
          piece.value > 0 ? (
            <mark class={piece.at === at ? "on" : ""} style={{ "--a": Math.min(1, top > 0 ? piece.value / top : 0) }}
              onMouseEnter={() => look(piece.at)}>{piece.text}</mark>
          ) : piece.text)}
      </div>
      <div class="facts" aria-live="polite">
        <span class="kind">{window.kind}</span>
        {chosen ? <span><code>{chosen.text}</code> {number(chosen.value, 2)}</span>
          : <span>{active.length ? `largest ${number(Math.max(...window.values), 2)}` : "silent"}</span>}
      </div>
    </div>
  );
}
