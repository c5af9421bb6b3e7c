"""A coder beside what its file says: shapes, place, L0, FVU, dead latents and loss recovered, each with its tokens and interval.

The check when a coder is loaded takes part of a second and sees a few hundred words (`coder_check`). This one is asked for, so it
may take a minute: it reads some thousand tokens and gives intervals over documents, without which nobody can say whether an FVU
of 0.21 contradicts a recorded one of 0.18.

What counts as off is what no other text could explain: text, dtype and context length of the record are seldom known.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from latentbench.corpora.contexts import Context, ContextSettings, contexts
from latentbench.models.language_model import Loaded
from latentbench.stats.bootstrap import FEWEST, bootstrap_mean
from latentbench.subject.coders.coder_check import CoderWarning, said_problems, unfolded_problem
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
from latentbench.subject.coders.provenance import provenance
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.coders.spliced_loss import Array, CoderSums, coder_sums, writes_where
from latentbench.subject.coders.start_token import Bos, check_positions, context_remarks, started
from latentbench.views.table import Column, Table

SHORTEST = 8
"""Tokens of the shortest context that is read."""
RECOVERED = "loss recovered"
LOSS_OFF = 0.2
"""A share of the loss recovered that is smaller than the recorded one by more than this is off."""


@dataclass(frozen=True)
class Measured:
    """One number of a coder.

    Attributes:
        name: `L0`, `FVU`, `dead`, `loss recovered`.
        value: measured.
        low, high: interval over documents; None where there is none.
        tokens: it is over.
        recorded: what the file says; None where it says nothing.
        verdict: `ok`, `off`, or `` where nothing can be said.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    tokens: int
    recorded: float | None
    verdict: str


@dataclass(frozen=True)
class CoderReport:
    """What is found of a coder.

    Attributes:
        coder, kind, key: as in `SparseCoder`.
        subject: its reference.
        reads, writes: hookpoints; `writes` is None where it is not known.
        shapes: `d_in`, `n_latents`, `d_model`.
        bos: whether a start token stood in front.
        documents, context: what was read.
        trained: what the coder says of its training.
        numbers: measured.
        remarks: what its file says and the subject is not, one sentence each.
        problems: what makes it unusable or is off by much.
    """

    coder: str
    kind: str
    key: str
    subject: str
    reads: str
    writes: str | None
    shapes: Mapping[str, int]
    bos: bool
    documents: int
    context: int
    trained: Mapping[str, str | bool | int]
    numbers: tuple[Measured, ...]
    remarks: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Nothing is off by much."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """Everything, with `ok`."""
        return {**asdict(self), "ok": self.ok}

    def table(self) -> Table:
        """One row per number."""
        shapes = f"{self.shapes['d_in']} -> {self.shapes['n_latents']} latents -> {self.shapes['d_model']}"
        few = "" if self.documents >= FEWEST // 2 else f" There is no interval below {FEWEST // 2} documents."
        return Table(
            f"{self.coder} on {self.subject}",
            [
                Column("number", "text"),
                Column("measured", "number"),
                Column("95 % interval", "number"),
                Column("tokens", "count"),
                Column("recorded", "number"),
                Column("verdict", "text"),
            ],
            [[m.name, m.value, (m.low, m.high), m.tokens, m.recorded, m.verdict] for m in self.numbers],
            conditions=f"{self.kind}, {shapes}; reads {self.reads}, writes {self.writes or 'not known'}; "
            f"{'a start token in front' if self.bos else 'no start token'}, contexts of {self.context} tokens",
            note=f"Intervals are over {self.documents} documents.{few} `dead` is the share of latents that are silent "
            "on all of these tokens: more text can only lower it. `loss recovered` is (zeros - reconstruction) / (zeros - clean) "
            "of next-token losses.",
            tones=["bad" if m.verdict == "off" else "" for m in self.numbers],
        )


def coder_report(
    spec: CoderSpec,
    loaded: Loaded,
    texts: Sequence[str],
    tokens: int = 4096,
    context: int = 128,
    bos: Bos = "auto",
    loss: bool = True,
) -> CoderReport:
    """Load a coder and measure it.

    Args:
        spec: which coder.
        loaded: the subject.
        texts: documents to measure on.
        tokens: read at most.
        context: tokens per context.
        bos: whether a start token stands in front; `auto`: as the coder was trained.
        loss: also measure the loss recovered.

    Raises:
        CoderError: it cannot be used.
        SpecError: the subject has too few positions for the context.
        EmptyCorpus: no document is long enough.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CoderWarning)
        coder = load_coder(spec, loaded, verify=False)
    said = provenance(spec, coder)
    reads = started(loaded, bos, {spec.name: said})
    remarks = [str(w.message) for w in caught if issubclass(w.category, CoderWarning)]
    remarks += [*said_problems(spec, coder, said, loaded), *context_remarks(reads, context, {spec.name: said})]
    check_positions(reads, context)
    factor = unfolded_problem(spec, coder, said, reads)
    cut = list(contexts(texts, reads.tokenizer, ContextSettings(context, min(SHORTEST, context)), tokens))
    sums = coder_sums(reads, coder, _renumbered(cut), loss)
    numbers = measured(sums, {**said.recorded, **coder.evals}, coder)
    if sums.losses and not any(m.name == RECOVERED for m in numbers):
        clean, zero = (float(sums.losses[c].sum() / sums.predicted.sum()) for c in ("clean", "zero"))
        remarks.append(
            f"the next-token loss with zeros at {writes_where(coder)} is {zero:.3f} nats, not above the {clean:.3f} without: "
            "there is no loss to recover."
        )
    place = f"coder {coder.name!r} at {coder.hookpoint} of {loaded.files.reference}"
    off = [f"{place}: {_sentence(m)}" for m in numbers if m.verdict == "off"]
    return CoderReport(
        coder.name,
        coder.kind,
        coder.key,
        loaded.files.reference,
        coder.hookpoint,
        writes_where(coder),
        {"d_in": coder.d_in, "n_latents": coder.n_latents, "d_model": coder.d_model},
        reads.bos is not None,
        len(sums.tokens),
        context,
        said.as_record(),
        numbers,
        tuple(remarks),
        (*([factor] if factor else []), *off),
    )


def _renumbered(cut: Sequence[Context]) -> list[Context]:
    """The contexts with their documents counted without gaps."""
    number: dict[int, int] = {}
    return [Context(number.setdefault(c.document, len(number)), c.ids) for c in cut]


def measured(sums: CoderSums, recorded: Mapping[str, float], coder: SparseCoder) -> tuple[Measured, ...]:
    """The numbers behind sums, beside the recorded ones."""
    n = int(sums.tokens.sum())
    l0 = _ratio(sums.active, sums.tokens)
    found = [_l0(l0, n, recorded.get("l0"), coder.kind)]
    if sums.error.size:
        found.append(_fvu(_ratio(sums.error, sums.spread), n, recorded.get("fvu"), coder.kind))
    dead = float((sums.fired == 0).mean())
    found.append(Measured("dead", dead, None, None, n, recorded.get("dead"), ""))
    if sums.losses:
        lost = sums.losses["zero"] - sums.losses["clean"]
        if float(lost.sum()) > 0:
            gained = _ratio(sums.losses["zero"] - sums.losses["spliced"], lost)
            known = recorded.get("recovered_zero", recorded.get("recovered"))
            found.append(_recovered(gained, int(sums.predicted.sum()), known, coder.kind))
    return tuple(found)


def _ratio(above: Array, below: Array) -> tuple[float, float | None, float | None]:
    """sum above / sum below over documents with its interval: that of the mean of the linearised ratio."""
    ratio = float(above.sum() / below.sum())
    influence = ratio + (above - ratio * below) / below.mean()
    interval = bootstrap_mean(influence, seed=0)
    bounds = (interval.low, interval.high)
    return (ratio, *(float(b) if np.isfinite(b) else None for b in bounds))  # type: ignore[return-value]


def _l0(found: tuple[float, float | None, float | None], n: int, recorded: float | None, kind: str) -> Measured:
    off = found[0] == 0 or (recorded is not None and not recorded / 2 <= found[0] <= 2 * recorded)
    return Measured("L0", *found, n, recorded, _verdict(off, recorded is not None))


def _fvu(found: tuple[float, float | None, float | None], n: int, recorded: float | None, kind: str) -> Measured:
    most = 1.0 if recorded is None else min(1.0, 3 * recorded + 0.1)
    off = kind != "random" and found[0] > most
    return Measured("FVU", *found, n, recorded, _verdict(off, recorded is not None))


def _recovered(found: tuple[float, float | None, float | None], n: int, recorded: float | None, kind: str) -> Measured:
    least = 0.0 if recorded is None else recorded - LOSS_OFF
    off = kind != "random" and found[0] < least
    return Measured(RECOVERED, *found, n, recorded, _verdict(off, recorded is not None))


def _verdict(off: bool, recorded: bool) -> str:
    return "off" if off else "ok" if recorded else ""


def _sentence(m: Measured) -> str:
    said = f"{m.name} is {m.value:.3g} on {m.tokens:,} tokens"
    if m.recorded is not None:
        return f"{said}, recorded is {m.recorded:.3g}. Is it the right subject, dtype and hookpoint?"
    worse = {"L0": "no latent is active", "FVU": "worse than the mean activation", RECOVERED: "worse than zeros"}
    return f"{said}, {worse[m.name]}. Is it the right subject, dtype and hookpoint?"
