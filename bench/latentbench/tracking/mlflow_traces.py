"""A sample of a run's calls as MLflow's traces: a trace for a latent under one explainer, scorer and judge, with what they said.

Somebody who doubts a score wants the prompt and the reply behind it. They are in the run folder (`latentbench.runs.kept`), and
MLflow has a place for them: the trace shows the explanation, the calls that wrote it and the calls that judged it, and its
assessments say the score, each window's answer beside the truth, and why a call has no answer. All calls would be ten thousand
traces that nobody opens and every page of MLflow loads, so latents at equal steps through the run's list are taken: a fixed rule,
so that nobody picks the pretty ones. Traces have ids of their run, cell and latent, and logging again replaces them.

A run keeps no times of single calls, so spans have none: they follow each other in the order in which they were asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from latentbench.kernel.identity import canonical
from latentbench.kernel.requests import Outcome
from latentbench.kernel.veil import veiled
from latentbench.runs.kept import EXPLAIN, KeptCall, has_calls, kept_calls
from latentbench.runs.record import CellRecord
from latentbench.tracking.entries import clean
from latentbench.views.escape import line, seen
from latentbench.views.number import rounded

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Assessment, Span
    from mlflow.entities.trace_info import TraceInfo

    from latentbench.runs.finished import Run

LATENTS, MOST = 4, 40
"""Latents whose calls are shown, and traces that a run has at most; with many cells there are fewer latents."""
CALLS = 12
"""Judge's calls in one trace: those without an answer first, because they are what is asked about."""
TEXT_CHARS = 20_000
"""Characters of one text of a trace."""
CHAT = ("system", "user", "assistant")
NO_CALLS = "No traces: the run kept no calls (`keep: all` or `keep: failures` in its spec)."


@dataclass(frozen=True)
class Told:
    """One latent under one explainer, scorer and judge.

    Attributes:
        cell: of the first repeat.
        latent: its id.
        explanation: what was judged.
        score: the headline; None where it has none.
        judged, attempted: judgements.
        calls: of the explainer, then of the judge, as they were asked.
        left_out: calls of the judge that are not among them.
        judgements: rows of the run's table, for this cell and latent.
    """

    cell: CellRecord
    latent: str
    explanation: str
    score: float | None
    judged: int
    attempted: int
    calls: tuple[KeptCall, ...]
    left_out: int
    judgements: pd.DataFrame


def sample(run: Run) -> Iterator[Told]:
    """What of a run becomes traces; nothing where no calls were kept.

    Raises:
        CorruptTable, DigestMismatch: the calls are not what the run wrote.
    """
    if not has_calls(run):
        return
    cells = [cells[0] for cells in run.record.grid.values()][:MOST]
    latents = run.record.latents
    n = min(len(latents), LATENTS, max(1, MOST // len(cells)))
    for latent in [latents[int((i + 0.5) * len(latents) / n)] for i in range(n)]:
        calls: dict[tuple[str, str], list[KeptCall]] = {}
        for call in kept_calls(run, latent):
            calls.setdefault((call.stage if call.stage == EXPLAIN else "", call.owner), []).append(call)
        texts = run.table("explanations").of_latent(latent).set_index(["explainer", "repeat"])["text"]
        scores, judgements = (run.table(name).of_latent(latent) for name in ("scores", "judgements"))
        for cell in cells:
            asked = calls.get(("", cell.cell), [])
            wrote = [c for c in calls.get((EXPLAIN, cell.explainer.label), []) if c.repeat == cell.repeat]
            if not asked and not wrote:
                continue
            own = scores[(scores["cell"] == cell.cell) & (scores["metric"] == cell.scorer.headline)]
            row = own.iloc[0]
            value = float(row["value"]) if row["value"] is not None else math.nan
            text = texts.get((cell.explainer.label, cell.repeat))
            shown = sorted(range(len(asked)), key=lambda i: (asked[i].ok, i))[:CALLS]
            yield Told(
                cell,
                latent,
                text if isinstance(text, str) else "",
                None if math.isnan(value) else value,
                int(row["n_judged"]),
                int(row["n_attempted"]),
                (*wrote, *(asked[i] for i in sorted(shown))),
                len(asked) - len(shown),
                judgements[judgements["cell"] == cell.cell],
            )


def trace_id(run: Run, told: Told) -> str:
    """The id of a trace, the same whenever it is logged."""
    parts = [run.id, run.record.started, told.cell.cell, told.latent]
    return "tr-" + hashlib.sha256(canonical(parts).encode()).hexdigest()[:32]


def trace_of(
    run: Run, told: Told, experiment: str, run_id: str, prompts: Sequence[Mapping[str, str]]
) -> tuple[TraceInfo, list[Span]]:
    """A trace and its spans.

    Args:
        run_id: of the MLflow run that it belongs to.
        prompts: names and versions of the prompts that were asked with.
    """
    from mlflow.entities import TraceInfo, TraceLocation, TraceState

    name, cell = trace_id(run, told), told.cell
    begun = int(datetime.fromisoformat(run.record.started).timestamp() * 1000)
    root = _span_id(name, -1)
    inputs = {"latent": line(told.latent), "explanation": _cut(told.explanation)}
    outputs = {line(cell.scorer.headline): told.score, "judged": told.judged, "attempted": told.attempted}
    title = line(" / ".join((*cell.labels, told.latent)))[:250]
    facts = {
        "explainer": cell.explainer.id, "scorer": cell.scorer.id, "judge": cell.judge.identity.label, "repeat": cell.repeat,
        "calls that are not shown": told.left_out,
    }  # fmt: skip
    spans = [_span(name, root, "", title, "EVALUATOR", begun, inputs, outputs, facts, True)]
    found: list[Assessment] = [_score(told, run_id)]
    for i, call in enumerate(told.calls):
        span = _span_id(name, i)
        who = "explain" if call.stage == EXPLAIN else call.member or "judge"
        words = line(f"{who}: {call.part or call.trial or call.form}")[:250]
        spans.append(
            _span(
                name, span, root, words, "CHAT_MODEL", begun + 1 + i, _asked(call), _said(call), _facts(call), call.ok
            )
        )
        found += _verdicts(told, call, span, run_id)
    info = TraceInfo(
        trace_id=name,
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=begun,
        state=TraceState.OK if all(call.ok for call in told.calls) else TraceState.ERROR,
        request_preview=json.dumps(inputs, ensure_ascii=False)[:1000],
        response_preview=json.dumps(outputs, ensure_ascii=False)[:1000],
        execution_duration=len(told.calls) + 1,
        trace_metadata={"mlflow.sourceRun": run_id, "latentbench.latent": line(told.latent)[:250]},
        tags={
            "mlflow.traceName": title,
            "latentbench.explainer": line(cell.explainer.label)[:250],
            "latentbench.scorer": line(cell.scorer.label)[:250],
            "latentbench.judge": line(cell.judge.label)[:250],
            **({"mlflow.linkedPrompts": json.dumps(list(prompts))} if prompts else {}),
        },
        assessments=found,
    )
    return info, spans


def _cut(text: str) -> str:
    text = veiled(seen(text))
    more = len(text) - TEXT_CHARS
    return text if more <= 0 else f"{text[:TEXT_CHARS]} [... {more:,} more characters]"


def _asked(call: KeptCall) -> dict[str, Any]:
    """What was sent; as a conversation where it was one, which MLflow then draws as such."""
    if all(m.role in CHAT for m in call.messages):
        return {"messages": [{"role": m.role, "content": _cut(m.content)} for m in call.messages]}
    return {call.form: [{line(m.role): _cut(m.content)} for m in call.messages]}


def _said(call: KeptCall) -> dict[str, Any]:
    """What came back: a reply, the probabilities of the answers, or a number."""
    found: dict[str, Any] = {}
    if call.reply or (call.ok and not call.probabilities and call.value is None):
        found["choices"] = [{"message": {"role": "assistant", "content": _cut(call.reply)}}]
    if call.probabilities:
        found["probabilities"] = [rounded(p) if math.isfinite(p) else None for p in call.probabilities]
    if call.value is not None:
        found["value"] = call.value if math.isfinite(call.value) else None
    return found


def _facts(call: KeptCall) -> dict[str, Any]:
    facts = {
        "outcome": call.outcome.value, "cause": _cut(call.cause), "finish": line(call.finish), "reasoning": _cut(call.reasoning),
        "form": call.form, "trial": line(call.trial), "part": line(call.part), "windows": list(call.items), "round": call.round,
        "answers allowed": [line(a) for a in call.answers],
    }  # fmt: skip
    return {key: value for key, value in facts.items() if value not in ("", [])}


def _score(told: Told, run_id: str) -> Assessment:
    from mlflow.entities import AssessmentSource, Feedback

    cell = told.cell
    return Feedback(
        name=clean(f"{cell.scorer.label}.{cell.scorer.headline}")[:200],
        value=told.score,
        error=None if told.score is not None else _error("NO_SCORE", "too few judgements have an answer"),
        source=AssessmentSource("LLM_JUDGE", line(cell.judge.label)[:250]),
        rationale=f"{told.judged} of {told.attempted} judgements of this latent have an answer; repeat {cell.repeat}.",
        metadata={SOURCE_RUN: run_id},
    )


SOURCE_RUN = "mlflow.assessment.sourceRunId"


def _error(code: str, message: str) -> Any:
    from mlflow.entities import AssessmentError

    return AssessmentError(code, message)


def _verdicts(told: Told, call: KeptCall, span: str, run_id: str) -> Iterable[Assessment]:
    """What a call came to: whether the judge was right about each window, or why nobody knows."""
    from mlflow.entities import AssessmentSource, Feedback

    judge = AssessmentSource("LLM_JUDGE", line(call.member or told.cell.judge.label)[:250])
    if not call.ok:
        cause = _cut(call.cause)[:1000] or call.outcome.value
        yield Feedback(name="answered", error=_error(call.outcome.value.upper(), cause), source=judge, span_id=span,
                       metadata={SOURCE_RUN: run_id})  # fmt: skip
        return
    if call.stage == EXPLAIN:
        return
    table = told.judgements
    own = table[(table["trial"] == call.trial) & (table["part"] == call.part) & table["item"].isin(call.items)]
    own = own[(own["outcome"] == Outcome.OK.value) & own["answer"].notna() & own["truth"].notna()]
    if not len(own):
        return
    right = int((own["answer"] == own["truth"]).sum())
    said = [
        f"window {w}: said {int(a)}, is {int(t)}"
        for w, a, t in zip(own["item"], own["answer"], own["truth"], strict=True)
    ]
    yield Feedback(
        name="right",
        value=right == len(own) if len(own) == 1 else right / len(own),
        source=judge,
        span_id=span,
        rationale=f"{right} of {len(own)} windows. {'; '.join(said)}"[:4000],
        metadata={SOURCE_RUN: run_id},
    )


def _span_id(name: str, i: int) -> str:
    return hashlib.sha256(f"{name}/{i}".encode()).hexdigest()[:16]


def _span(
    trace: str, span: str, parent: str, name: str, kind: str, at: int, inputs: Mapping[str, Any], outputs: Mapping[str, Any],
    facts: Mapping[str, Any], ok: bool,
) -> Span:  # fmt: skip
    """A span as MLflow reads it; every attribute is JSON.

    Args:
        at: milliseconds since 1970.
    """
    from mlflow.entities import Span

    def raw(hexadecimal: str) -> str:
        return base64.b64encode(bytes.fromhex(hexadecimal)).decode()

    attributes = {
        "mlflow.traceRequestId": trace, "mlflow.spanType": kind, "mlflow.spanInputs": inputs, "mlflow.spanOutputs": outputs,
        **({"mlflow.message.format": "openai"} if "messages" in inputs else {}), **facts,
    }  # fmt: skip
    return Span.from_dict(
        {
            "trace_id": raw(trace.removeprefix("tr-")),
            "span_id": raw(span),
            "parent_span_id": raw(parent) if parent else "",
            "name": name,
            "start_time_unix_nano": at * 1_000_000,
            "end_time_unix_nano": (at + 1) * 1_000_000,
            "events": [],
            "status": {"code": "STATUS_CODE_OK" if ok else "STATUS_CODE_ERROR", "message": ""},
            "attributes": {key: json.dumps(value, ensure_ascii=False) for key, value in attributes.items()},
        }
    )
