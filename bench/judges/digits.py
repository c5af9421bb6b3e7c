"""A causal LM that writes an activation behind every token, read in one forward pass a window.

The layout is the all-at-once one of Bills et al. (2023): the window's tokens are listed, each with a separator and its
activation. At every activation's place the log-probabilities of all levels are read:

    E_t = sum v p(v) / sum p(v),   p_t = E_t / highest level,   p_window = max_t p_t

Behind an earlier token stands `filler` ("unknown"), not what the model would have written there. Writing its own answers
back costs one pass per token, and lets one wrong early answer decide all later ones. A model that was trained with activations in
these places and never with the filler is out of its element here; its `simulator.yaml` should name another filler (such as
"0"). The window's probability is the largest token's because such a model says nothing about windows; nobody has calibrated it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence

import numpy as np

from bench.judges.answers import ChoiceRow, choice_row, endings
from bench.judges.base import Choice, Message, Outcome, Reply
from bench.judges.engine import Engine
from bench.judges.prefix import Tokens
from bench.judges.readout import read
from bench.judges.shared import SharedPrefixes
from bench.judges.simulated import Asked, Simulated
from bench.judges.wording import Wording
from bench.models.load import Loaded
from bench.simulators.artifact import DigitsConfig

FIELD = re.compile(r"\{(explanation|window)\}")
NEVER = 1 << 30


class DigitsReader:
    """See the module docstring.

    Args:
        loaded: the model.
        config: its layout.
        batch_tokens: new tokens per forward pass at most, padding included.
        share: compute shared prefixes once.
        memory: bytes for the keys and values of the prefixes of one call.
    """

    def __init__(self, loaded: Loaded, config: DigitsConfig, batch_tokens: int, share: bool, memory: int) -> None:
        self.config, self.memory = config, memory
        self.engine = Engine(loaded)
        self.wording = Wording(loaded.tokenizer)
        self.shared = SharedPrefixes(self.engine, batch_tokens, 16 if share else NEVER, keep_tokens=0)

    def read(self, asked: Sequence[Asked], stop: threading.Event) -> list[Simulated | Reply]:
        """See `bench.judges.simulated.Reader`."""
        texts = [self.text(a) for a in asked]
        choices = [self.choice(a.tokens) for a in asked]
        prompts = self._prompts(texts)
        self.wording.learn(pair for c, t in zip(choices, texts, strict=True) for pair in endings(c, t))
        rows = [choice_row(self.wording, *x) for x in zip(choices, texts, prompts, strict=True)]
        out: list[Simulated | Reply] = [self._fails(row, prompt) for row, prompt in zip(rows, prompts, strict=True)]
        fits = [(i, row) for i, row in enumerate(rows) if row is not None and self._fits(row)]
        found = read(self.shared, [row.row for _, row in fits], self.memory, stop)
        for (i, row), logp, saved in zip(fits, found.logp, found.saved, strict=True):
            levels = np.array(row.answers(logp))
            out[i] = self._simulated(asked[i], levels, len(row.row.tokens) + len(row.row.branches), saved)
        return out

    def text(self, asked: Asked) -> str:
        """What stands before the listed tokens."""
        values = {"explanation": asked.explanation, "window": "".join(asked.tokens)}

        def filled(text: str) -> str:
            return FIELD.sub(lambda match: values[match[1]], text)

        template = self.config.template
        if isinstance(template, str):
            return filled(template)
        return self.wording.render([Message(role, filled(text)) for m in template for role, text in m.items()])

    def choice(self, tokens: Sequence[str]) -> Choice:
        """The places and levels of a window; tokens without characters have no place."""
        c = self.config
        cells = ["".join(c.escapes.get(x, x) for x in token) + c.separator for token in tokens if token]
        slots = (c.before + cells[0], *(c.filler + c.end + cell for cell in cells[1:]))
        return Choice((), c.levels, slots, c.end)

    def _prompts(self, texts: Sequence[str]) -> list[Tokens]:
        return (
            self.wording.raw(texts, start=True)
            if isinstance(self.config.template, str)
            else self.wording.prompts(texts)
        )

    def _fits(self, row: ChoiceRow) -> bool:
        return len(row.row.tokens) + max(n for slot in row.sizes for n in slot) - 1 <= self.engine.context

    def _fails(self, row: ChoiceRow | None, prompt: Tokens) -> Reply:
        if row is None:
            return Reply(Outcome.SKIPPED, error="a level has no token of its own; there is nothing to read")
        return Reply(
            Outcome.SKIPPED,
            error=f"an explanation of {len(prompt)} tokens with its instructions and a window of "
            f"{len(row.row.tokens) - len(prompt)} do not fit the context of {self.engine.context}; nothing was cut",
        )

    def _simulated(
        self, asked: Asked, logp: np.ndarray[tuple[int, int], np.dtype[np.float64]], n: int, saved: int
    ) -> Simulated | Reply:
        """From [places, levels] log-probabilities."""
        top = logp.max(1, keepdims=True)
        if not np.isfinite(top).all():
            return Reply(Outcome.PARSE, error="a token has no mass on any level")
        p = np.exp(logp - top)
        expected = iter((p @ np.arange(p.shape[1]) / p.sum(1) / (p.shape[1] - 1)).tolist())
        tokens = tuple(next(expected) if t else 0.0 for t in asked.tokens)
        return Simulated(tokens, max(tokens), n, saved)
