"""Whether a suite keeps what it promises: the digest, the rules on its windows, and (on request) the activations themselves.

The digest says that nobody changed the tables; the rules say that they were right when they were frozen. Neither can tell
whether the activations are the subject's. For that the corpus is cut into contexts again, the contexts of a sample of windows
go through subject and coder, and the stored numbers are compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from latentbench.kernel.identity import table_digest
from latentbench.suites.imported.suite_notes import notes
from latentbench.suites.repeats import promised_apart, repeats
from latentbench.suites.store import Suite
from latentbench.suites.stored_columns import flat_list

SHOWN = 5


@dataclass(frozen=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        lines: one per check, for people: `ok`, `FAIL`, `warn` for what the suite did not promise, and `n/a` for what an imported
            suite cannot know.
        problems: broken promises; empty if all hold.
    """

    lines: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every check held."""
        return not self.problems


def verify(suite: Suite, activations: bool = False, contexts: int = 40, base: Path | None = None) -> VerifyReport:
    """Check a suite.

    Args:
        suite: loaded, so its files are readable.
        activations: also run subject and coders again.
        contexts: how many contexts to run then; every window in them is compared.
        base: folder that relative paths of the recipe start at; the suite's own by default.

    Raises:
        SpecError, DataError, ModelError, CoderError: with `activations`, when recipe, corpus, subject or a coder cannot be had.
    """
    lines, problems = [], []

    def check(what: str, found: list[str]) -> None:
        lines.append(f"{'ok  ' if not found else 'FAIL'} {what}" + "".join(f"\n       {f}" for f in found[:SHOWN]))
        problems.extend(found)

    digest = table_digest({"latents": suite.latent_table, "windows": suite.window_table})
    check(f"digest {digest}", [] if digest == suite.digest else [f"recorded digest is {suite.digest}"])
    facts = _facts(suite.latent_table, suite.window_table)
    strangers = [f"window {i} belongs to no latent" for i in np.flatnonzero(facts.latent < 0)]
    check("every window belongs to a latent of the suite", strangers)
    check("windows of one latent never share a corpus position", _overlaps(facts))
    check("windows have one id, string and activation per token", _lengths(suite.window_table))
    check("windows of a decile fire, all others are silent", _kinds(facts))
    check("stronger deciles hold stronger windows", _deciles(facts))
    check("counts are those recorded, and never above what was asked for", _counts(suite, facts))
    repeated = repeats(suite.window_table, facts.latent, facts.explain)
    if promised_apart(suite.manifest):
        check(repeated.said(), repeated.problems(facts.names))
    else:
        lines.append(f"{'warn' if len(repeated.whole) else 'ok  '} {repeated.said()}")
    lines += [f"n/a  {line}" for line in notes(suite)]
    if activations:
        from latentbench.suites.rerun import compare

        found, said = compare(suite, contexts, base or suite.path)
        check(said, found)
    return VerifyReport(tuple(lines), tuple(problems))


@dataclass(frozen=True)
class _Facts:
    """The windows table as arrays, one entry per window; `latent` is the row number in the latents table, -1 if none."""

    names: list[str]
    latent: NDArray[np.int64]
    explain: NDArray[np.bool_]
    decile: NDArray[np.int64]
    max: NDArray[np.float64]
    position: NDArray[np.int64]
    length: NDArray[np.int64]


def _facts(latents: pa.Table, windows: pa.Table) -> _Facts:
    names = latents.column("latent").to_pylist()
    row = {name: i for i, name in enumerate(names)}
    values, cuts = flat_list(windows.column("activations"))
    numbers = np.append(values.to_numpy(zero_copy_only=False).astype(np.float64), 0.0)
    length = np.diff(cuts)
    maxima = np.maximum.reduceat(numbers, cuts[:-1]) if len(length) else np.zeros(0)
    kinds = windows.column("kind").to_pylist()
    return _Facts(
        names=names,
        latent=np.array([row.get(n, -1) for n in windows.column("latent").to_pylist()], dtype=np.int64),
        explain=np.array([r == "explain" for r in windows.column("role").to_pylist()], dtype=np.bool_),
        decile=np.array([int(k.partition(":")[2]) if k.startswith("quantile:") else -1 for k in kinds], dtype=np.int64),
        max=np.where(length > 0, maxima, 0.0),
        position=windows.column("position").to_numpy().astype(np.int64),
        length=length,
    )


def _overlaps(facts: _Facts) -> list[str]:
    order = np.lexsort((facts.position, facts.latent))
    a, b = order[:-1], order[1:]
    clash = (facts.latent[a] == facts.latent[b]) & (facts.position[a] + facts.length[a] > facts.position[b])
    return [
        f"{facts.names[facts.latent[i]]}: windows {i} and {j} overlap at corpus position {facts.position[j]}"
        for i, j in zip(a[clash].tolist(), b[clash].tolist(), strict=True)
    ]


def _lengths(windows: pa.Table) -> list[str]:
    cuts = [flat_list(windows.column(name))[1] for name in ("ids", "tokens", "activations")]
    wrong = (cuts[0] != cuts[1]) | (cuts[0] != cuts[2])
    return [f"window {int(np.argmax(wrong)) - 1} has lists of different lengths"] if wrong.any() else []


def _kinds(facts: _Facts) -> list[str]:
    quantile = facts.decile >= 0
    found = [f"window {i} is of a decile and never fires" for i in np.flatnonzero(quantile & (facts.max <= 0))]
    return found + [f"window {i} is a negative and fires" for i in np.flatnonzero(~quantile & (facts.max > 0))]


def _deciles(facts: _Facts) -> list[str]:
    active = np.flatnonzero(facts.decile >= 0)
    order = active[np.lexsort((facts.max[active], facts.decile[active], facts.latent[active]))]
    a, b = order[:-1], order[1:]
    wrong = (facts.latent[a] == facts.latent[b]) & (facts.decile[a] < facts.decile[b]) & (facts.max[a] > facts.max[b])
    return [
        f"{facts.names[facts.latent[i]]}: window {i} of decile {facts.decile[i]} is stronger than window {j} of {facts.decile[j]}"
        for i, j in zip(a[wrong].tolist(), b[wrong].tolist(), strict=True)
    ]


def _counts(suite: Suite, facts: _Facts) -> list[str]:
    positive = facts.decile >= 0
    # The hard kinds of silent windows come on top of the random ones that a recipe counts as negatives.
    random = np.array(suite.window_table.column("kind").to_pylist()) == "random"
    masks = {
        "explain": facts.explain & positive,
        "positive": ~facts.explain & positive,
        "negative": ~facts.explain & random,
    }
    found = []
    for role, mask in masks.items():
        counted = np.bincount(facts.latent[mask & (facts.latent >= 0)], minlength=len(facts.names)).tolist()
        asked = suite.latent_table.column(f"asked_{role}").to_pylist()
        got = suite.latent_table.column(f"got_{role}").to_pylist()
        for name, n, a, g in zip(facts.names, counted, asked, got, strict=True):
            if n != g or g > a:
                found.append(f"{name}: {n} {role} windows, {g} recorded, {a} asked for")
    return found
