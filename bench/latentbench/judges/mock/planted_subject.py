"""What planted latents do on texts, and texts in which a rule fires: the subject that mock judges have instead of a model.

An activation is measured and not judged, so it is the same for every mock, whatever that understands of explanations: the
latent's own rule, evaluated on the text. A writer without a model has no words of its own; one that understands rules quotes
the suite that the rules belong to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latentbench.kernel.errors import DigestMismatch
from latentbench.kernel.identity import canonical, digest, seed_for
from latentbench.kernel.latent import LatentRef, origin
from latentbench.kernel.requests import Outcome, Reply
from latentbench.kernel.tables import WINDOWS, read_table
from latentbench.suites.planted.planted_suite import CODER, Rules, activation, load_rules
from latentbench.suites.planted.rules import TOKEN, Mask, fragment, matches
from latentbench.suites.store import Suite

QUOTED = 64
"""Pieces per rule that a writer chooses from."""
REACH = (1, 3, 8)


class PlantedSubject:
    """Rules as a subject.

    Args:
        rules: of the planted suite.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._latents = {f"{CODER}/{latent.name}": latent.truth.rule for latent in rules.latents}
        self._origin = origin("", digest(rules))

    def activate(self, text: str, latent: LatentRef) -> Reply:
        """Activations on the word-level tokens of a text; `skipped` for a latent that is not one of these rules.

        The text has no source, so `source` clauses count as true, as everywhere in a fragment.
        """
        if latent.id not in self._latents or latent.origin not in ("", self._origin):
            error = f"mock judges know the latents of a planted suite only, and {latent.id} is none of these rules"
            return Reply(Outcome.SKIPPED, error=error)
        document = fragment(TOKEN.findall(text))
        if not document.tokens:
            return Reply(Outcome.SKIPPED, error="the text has no tokens")
        values = activation(document, matches(self._latents[latent.id], document, self._rules.lists))
        found = tuple(float(v) for v in values)
        return Reply(tokens=(found,), windows=(max(found),))

    def project(self, text: str, latents: Sequence[LatentRef]) -> Reply:
        """The mean activation on a text of each of these latents, which stands for how far the text lies along its direction;
        `skipped` where one of them is none of these rules."""
        found = []
        for latent in latents:
            reply = self.activate(text, latent)
            if reply.tokens is None:
                return reply
            found.append(sum(reply.tokens[0]) / len(reply.tokens[0]))
        return Reply(windows=tuple(found))


def planted_subject(suite: Suite) -> PlantedSubject | None:
    """The subject of a suite that was built from rules; None for any other suite, and where its rules do not lie beside it.

    Raises:
        DigestMismatch: they are others than those that it was built from.
    """
    recipe = suite.manifest.get("recipe")
    file = recipe.get("rules") if suite.manifest.get("kind") == "planted" and isinstance(recipe, Mapping) else None
    if not isinstance(file, str) or not (suite.path / file).exists():
        return None
    rules = load_rules(suite.path / file)
    if digest(rules) != suite.manifest.get("rules"):
        raise DigestMismatch(f"{suite.path / file} is not what {suite.id} was built from; build the suite again.")
    return PlantedSubject(rules)


class Quotes:
    """Short pieces of the windows of the suite beside a file of rules, as a supply of texts.

    Short, because everything else in a text may make other rules fire, too: a piece is one firing token with the least number of
    neighbours (1, 3, 8, all) that the rule needs to fire in it.

    Args:
        rules: what the suite was built from.
        folder: of the suite; without windows there are no quotes.
    """

    def __init__(self, rules: Rules, folder: Path) -> None:
        self._rules, self._folder = rules, folder
        self._firing: dict[str, list[str]] = {}
        self._rates: dict[str, float] = {}

    def text(self, rule: Mapping[str, Any] | None, seed: int) -> str | None:
        """A piece in which the rule fires, any piece without a rule; None where there is none.

        Args:
            seed: chooses; texts of different seeds may be the same.
        """
        texts = self._any if rule is None else self._of(rule)
        return texts[seed_for("quote", seed) % len(texts)] if texts else None

    def rate(self, rule: Mapping[str, Any]) -> float:
        """Share of the suite's windows in which the rule fires, between 0 and 1."""
        name = canonical(rule)
        if name not in self._rates:
            fires = sum(bool(self._mask(rule, tokens).any()) for tokens in self._windows)
            self._rates[name] = (fires + 1) / (len(self._windows) + 2)
        return self._rates[name]

    def _of(self, rule: Mapping[str, Any]) -> list[str]:
        name = canonical(rule)
        if name not in self._firing:
            found = self._firing[name] = []
            for tokens in self._windows:
                piece = self._piece(rule, tokens)
                if piece is not None:
                    found.append(piece)
                if len(found) == QUOTED:
                    break
        return self._firing[name]

    def _piece(self, rule: Mapping[str, Any], tokens: list[str]) -> str | None:
        fires = np.flatnonzero(self._mask(rule, tokens))
        for reach in (*REACH, len(tokens)) if len(fires) else ():
            part = tokens[max(0, fires[0] - reach) : fires[0] + reach + 1]
            # Cut from a text it is tokenised again, and white space at its ends is gone.
            text = "".join(part).strip()
            if self._mask(rule, TOKEN.findall(text)).any():
                return text
        return None

    def _mask(self, rule: Mapping[str, Any], tokens: list[str]) -> Mask:
        return matches(rule, fragment(tokens), self._rules.lists)

    @cached_property
    def _any(self) -> list[str]:
        middles = (len(tokens) // 2 for tokens in self._windows)
        reach = REACH[1]
        return [
            "".join(t[max(0, m - reach) : m + reach + 1]).strip() for t, m in zip(self._windows, middles, strict=True)
        ]

    @cached_property
    def _windows(self) -> list[list[str]]:
        """Tokens of every different window once, in an order that no row number decides."""
        file = self._folder / "windows.parquet"
        if not file.exists():
            return []
        rows = read_table(file, WINDOWS).column("tokens").to_pylist()
        return sorted({canonical(row): row for row in rows}.values(), key=digest)
