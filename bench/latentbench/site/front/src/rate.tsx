// The page of `bench rate`: one item at a time, by keyboard. An answer counts when the server has written it down, so a tab may be
// closed at any moment; what was said is asked of the server again, and nothing but the rater's name is kept in the address.
import { render } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Long, Tokens } from "./text";
import type { Num, ShownWindow } from "./types";
import "./rate.css";

interface AskedItem { id: string; texts: string[]; windows: ShownWindow[]; scale: number; answer: Num }
interface AskedSession { rater: string; task: "scale" | "pair"; items: AskedItem[] }
interface Answer { key: string; value: number; label: string }

const SCALE: Answer[] = [
  { key: "1", value: 1, label: "fits none" }, { key: "2", value: 2, label: "fits few" }, { key: "3", value: 3, label: "fits half" },
  { key: "4", value: 4, label: "fits most" }, { key: "5", value: 5, label: "fits all, and only these" },
];
const PAIR: Answer[] = [{ key: "1", value: 1, label: "A is better" }, { key: "0", value: 0, label: "no difference" }, { key: "2", value: -1, label: "B is better" }];

async function asked(rater: string): Promise<AskedSession> {
  const reply = await fetch(`session/${encodeURIComponent(rater)}`);
  if (!reply.ok) throw new Error((await reply.text()).trim());
  return await reply.json() as AskedSession;
}

function Name({ start, error }: { start: (rater: string) => void; error: string }) {
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  return (
    <main>
      <h1>Rate explanations</h1>
      <p>You see some words and windows of text. The shading says where something inside a model was active. Say how well the words describe what the
        shaded places have in common and the other windows lack. Answers are single keys; each is kept at once, and you can stop at any time.</p>
      <div class="rate-name">
        <label>Your name or a code<br /><input ref={input} maxLength={40} autocomplete="off" onKeyDown={(e) => { if (e.key === "Enter") start(e.currentTarget.value.trim()); }} /></label>
        <button type="button" onClick={() => start(input.current?.value.trim() ?? "")}>Start (Enter)</button>
      </div>
      <p class="error" role="alert">{error}</p>
    </main>
  );
}

function Items({ session }: { session: AskedSession }) {
  const [answers, setAnswers] = useState<Num[]>(() => session.items.map((item) => item.answer));
  const [at, go] = useState(() => { const next = session.items.findIndex((item) => item.answer === null); return next < 0 ? session.items.length : next; });
  const [error, fail] = useState("");
  const sending = useRef(false), began = useRef(performance.now()), heading = useRef<HTMLHeadingElement>(null);
  const item = session.items[at], choices = session.task === "scale" ? SCALE : PAIR, done = answers.filter((a) => a !== null).length;
  useLayoutEffect(() => { began.current = performance.now(); window.scrollTo(0, 0); heading.current?.focus({ preventScroll: true }); }, [at]);
  const say = async (value: number) => {
    if (!item || sending.current) return;
    sending.current = true;
    try {
      const seconds = Math.min(86400, Math.round(performance.now() - began.current) / 1000);
      const reply = await fetch("rating", { method: "POST", headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ rater: session.rater, item: item.id, value, seconds }) });
      if (!reply.ok) throw new Error((await reply.text()).trim());
      setAnswers((held) => held.map((a, i) => (i === at ? value : a)));
      fail("");
      go(at + 1);
    } catch (e) {
      fail(`This answer was not kept: ${e instanceof Error ? e.message : String(e)}. Is bench rate still running? Give it again.`);
    } finally { sending.current = false; }
  };
  // Before the next key, not after the next painting: a quick key would else be an answer to the item before.
  useLayoutEffect(() => {
    const heard = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
      const answer = choices.find((choice) => choice.key === event.key);
      if (answer) { event.preventDefault(); void say(answer.value); }
      else if (event.key === "Backspace" && at > 0) { event.preventDefault(); go(at - 1); }
      else if (event.key === "n" && item && answers[at] !== null) go(at + 1);
    };
    window.addEventListener("keydown", heard);
    return () => window.removeEventListener("keydown", heard);
  });
  const head = item ? `Item ${at + 1} of ${session.items.length}` : done === session.items.length ? "All items are rated" : "The end of the list";
  return (
    <>
      <header><p class="title"><bdi>{session.rater}</bdi></p><label>{done} of {session.items.length} rated <progress aria-label="rated" value={done} max={session.items.length} /></label></header>
      <main>
        <h1 tabIndex={-1} ref={heading}>{head}</h1>
        {!item && <p>{done === session.items.length ? "Thank you. You can close this page." : "Some items before are open: go back with Backspace, or open the page again."}</p>}
        {item && <div key={item.id}>
          {item.texts.map((text, i) => <div class="rate-text" key={i}>{item.texts.length > 1 && <strong>{i ? "B: " : "A: "}</strong>}<Long text={text} /></div>)}
          <h2>Windows</h2>
          {item.windows.map((shown) => <Tokens key={shown.id} window={{ ...shown, kind: "" }} top={item.scale} />)}
          <div class="answers" role="group" aria-label={session.task === "scale" ? "How well do the words fit?" : "Which words fit better?"}>
            {choices.map((choice) => <button key={choice.key} type="button" aria-pressed={answers[at] === choice.value} onClick={() => void say(choice.value)}>
              <kbd>{choice.key}</kbd>{choice.label}</button>)}
          </div>
        </div>}
        <p class="error" role="alert">{error}</p>
        <p class="soft">Keys: {choices.map((choice) => choice.key).join(", ")} answer; Backspace goes back; n goes on where an answer stands.</p>
      </main>
    </>
  );
}

function Rate() {
  const [session, set] = useState<AskedSession | null>(null);
  const [error, fail] = useState("");
  const start = (rater: string) => {
    if (!rater) { fail("Say a name first."); return; }
    asked(rater).then((found) => { history.replaceState(null, "", `#${encodeURIComponent(rater)}`); set(found); }, (e: Error) => fail(e.message));
  };
  useEffect(() => {
    let known = "";
    try { known = decodeURIComponent(location.hash.slice(1)); } catch { /* an address that somebody cut */ }
    if (known) start(known);
  }, []);
  return session ? <Items session={session} /> : <Name start={start} error={error} />;
}

const root = document.getElementById("app");
if (root) { root.textContent = ""; render(<Rate />, root); }
