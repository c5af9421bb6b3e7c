"""Excerpts with marks and nothing else: the question that fine-tuned explainers were trained on.

A model that was trained on one form of question answers that form well and others badly, so the marks, the line of an excerpt
and the name of the answer are prompts of the task file, and a published explainer is one file. Wording it as the explainer
`llm` does is the tempting way, and measures how well the model bears a form that it has never seen.

Three things differ from `llm` because such models were trained so. Line breaks of a text stay line breaks, and nothing in it
is escaped. One threshold holds for all excerpts, a share of the largest activation that is shown, so a weak excerpt may have no
mark; it is lowered until enough different texts are marked. And the excerpts stand in a random order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from pydantic import Field

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params, chat, first_paragraph, total_usage
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Capability, Outcome, Reply, Request
from latentbench.prompts.examples import Sampling, chosen, cropped
from latentbench.prompts.selection import shuffled
from latentbench.prompts.template import Prompts, fill

STEP = 0.1
"""By how much the threshold is lowered at a time."""


class ExcerptsParams(Params):
    """Parameters of the explainer of excerpts."""

    n_examples: int = Field(default=20, ge=1)
    """Explain windows in the prompt; fewer where the suite has fewer."""
    sampling: Sampling = "top"
    """Which of the suite's explain windows, as in `llm`."""
    n_top: int = Field(default=10, ge=0)
    """With `importance`, how many of the strongest windows are always shown."""
    shuffle: bool = True
    """Show them in a random order; otherwise the strongest first."""
    window: int | None = Field(default=None, ge=1)
    """Tokens shown of each window, around its strongest one; the whole window by default."""
    threshold: float = Field(default=0.5, gt=0, le=1)
    """Share of the largest activation that is shown from which a token is marked, in every excerpt."""
    least_marked: int = Field(default=3, ge=1)
    """Different marked texts below which the threshold is lowered, a tenth at a time, until all that fires is marked."""
    max_tokens: int = Field(default=200, ge=1)
    """Length of the reply."""
    temperature: float = Field(default=0.0, ge=0)
    """Temperature of the sampling; 0 is greedy."""


class ExcerptsExplainer(Explainer):
    """Asks one chat request per latent."""

    params_model = ExcerptsParams
    needs = frozenset({Capability.CHAT})

    def __init__(self, name: str, version: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, params, prompts)
        section = Prompts(prompts, ("marker", "open", "close", "excerpt", "ask"), f"explainer {name!r}")
        self._marker, self._marks = section.text("marker"), (section.text("open"), section.text("close"))
        self._excerpt = section.text("excerpt", ("number", "text"))
        self._ask = section.messages("ask", ("excerpts", "open", "close"))

    def requests(self, latent: LatentView, seed: int) -> list[Request]:
        """One request; none for a latent without explain windows."""
        p = self.params
        drawn = [cropped(w, p.window) for w in chosen(latent.explain, p.n_examples, p.sampling, p.n_top, seed)]
        if not drawn:
            return []
        level = common_level(drawn, p.threshold, p.least_marked)
        windows = shuffled(drawn, seed) if p.shuffle else drawn
        lines = [
            fill(self._excerpt, number=str(i), text=bracketed(w, level, *self._marks)) for i, w in enumerate(windows, 1)
        ]
        opening, closing = self._marks
        messages = self._ask.render(excerpts="".join(f"{line}\n" for line in lines), open=opening, close=closing)
        return [chat(messages, p.max_tokens, p.temperature, seed)]

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The text behind the last marker, without the colon; a reply that never writes it has no answer."""
        if not replies:
            return Explanation(latent.id, None, Outcome.SKIPPED, error="the latent has no explain windows")
        (reply,) = replies
        usage = total_usage(replies)
        if not reply.ok:
            return Explanation(latent.id, None, reply.outcome, usage, reply.error)
        _, found, text = (reply.text or "").rpartition(self._marker)
        if not found:
            error = f"no {self._marker!r} in {(reply.text or '')[:80]!r}"
            return Explanation(latent.id, None, Outcome.PARSE, usage, error)
        return first_paragraph(latent, text.strip("\n :"), usage, cut=reply.finish == "length")


def common_level(windows: Sequence[Window], threshold: float, least: int) -> float:
    """The activation from which a token is marked in every window.

    By hand: two windows with the activations (10, 0) and (2, 4), all tokens different, from half on: 5 marks one text; with two
    wanted it is lowered to four tenths, 4, which marks two.
    """
    top = max((w.max for w in windows), default=0.0)
    for tenth in range(round(threshold / STEP)):
        level = round(threshold - tenth * STEP, 6) * top
        if len({text for w in windows for marked, text in _runs(w, level) if marked}) >= least:
            return level
    return 0.0


def bracketed(window: Window, level: float, opening: str, closing: str) -> str:
    """The window's text with marks around each run of tokens that fire with at least `level`; spaces at the ends of a run stay
    outside, as long as it has anything else."""
    out: list[str] = []
    for marked, text in _runs(window, level):
        bare = text.strip(" ") or text
        start = text.index(bare)
        out.append(f"{text[:start]}{opening}{bare}{closing}{text[start + len(bare) :]}" if marked else text)
    return "".join(out)


def _runs(window: Window, level: float) -> list[tuple[bool, str]]:
    """Runs of tokens that are marked or are not, in order, each with its text."""
    pairs = zip((a > 0 and a >= level for a in window.activations), window.tokens, strict=True)
    return [(marked, "".join(token for _, token in run)) for marked, run in groupby(pairs, key=lambda pair: pair[0])]
