"""Who said what in a panel: `panel.parquet` of a run folder, beside its judgements, one row per judgement and member.

A table of its own, because most runs have no panel and a panel has any number of members. How far the members agree says more of
an answer than the answer's own probability: a jury of one opinion is cheaper with one member.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa

from latentbench.kernel.requests import Outcome
from latentbench.kernel.tables import read_table
from latentbench.scorers.scorer import Judgement
from latentbench.views.number import number, percent

PANEL = "panel.parquet"

_STR = pa.string()
OPINIONS = pa.schema(
    [
        ("cell", _STR),
        ("scorer", _STR),  # labels
        ("judge", _STR),
        ("latent", _STR),
        ("trial", _STR),
        ("part", _STR),
        ("item", pa.int64()),
        ("kind", _STR),
        ("truth", pa.int32()),
        ("verdict", pa.int32()),  # the panel's answer, null where it has none
        ("unanimous", pa.bool_()),  # whether all members that answered gave one answer; null with fewer than two
        ("spread", pa.float64()),  # largest minus smallest p(active) of these members
        ("member", _STR),
        ("outcome", _STR),
        ("score", pa.float64()),  # p(active); 0 or 1 of a member that answered in words
        ("answer", pa.int32()),
        ("error", _STR),
    ]
)

Row = tuple[tuple[str, str, str, str], Judgement, int]
"""Cell, scorer, judge and latent; the judgement; the place of the member in it."""


def unanimous(judgement: Judgement) -> bool | None:
    """Whether all members that answered gave one answer; None with fewer than two."""
    answers = [answer for _, _, _, answer, _ in judgement.said if answer is not None]
    return None if len(answers) < 2 else len(set(answers)) == 1


def spread(judgement: Judgement) -> float | None:
    """Largest minus smallest p(active) of the members that answered; None with fewer than two."""
    found = [p for _, _, p, _, _ in judgement.said if p is not None]
    return None if len(found) < 2 else max(found) - min(found)


OPINION_COLUMNS: Mapping[str, Callable[[tuple[str, str, str, str], Judgement, int], object]] = {
    "cell": lambda at, j, m: at[0],
    "scorer": lambda at, j, m: at[1],
    "judge": lambda at, j, m: at[2],
    "latent": lambda at, j, m: at[3],
    "trial": lambda at, j, m: j.trial,
    "part": lambda at, j, m: j.part,
    "item": lambda at, j, m: j.item,
    "kind": lambda at, j, m: j.kind,
    "truth": lambda at, j, m: j.truth,
    "verdict": lambda at, j, m: j.answer,
    "unanimous": lambda at, j, m: unanimous(j),
    "spread": lambda at, j, m: spread(j),
    "member": lambda at, j, m: j.said[m][0],
    "outcome": lambda at, j, m: j.said[m][1].value,
    "score": lambda at, j, m: j.said[m][2],
    "answer": lambda at, j, m: j.said[m][3],
    "error": lambda at, j, m: j.said[m][4],
}
"""What a row has, from cell, scorer, judge and latent, a judgement, and the number of a member in it."""


def read_opinions(folder: Path, frozen: str | None = None) -> pd.DataFrame | None:
    """The table of a run folder; None where no panel was asked.

    Args:
        frozen: digest that is on record of it.

    Raises:
        CorruptTable: it cannot be read, or is on record and missing. DigestMismatch: it is not the one on record.
    """
    path = folder / PANEL
    return read_table(path, OPINIONS, frozen).to_pandas() if path.exists() or frozen is not None else None


def agreement(opinions: pd.DataFrame | None) -> list[str]:
    """A line per panel and scorer: how often its members agree, how far they lie apart, and who is how often against the rest."""
    if opinions is None:
        return []
    lines = []
    for (judge, scorer), own in opinions.groupby(["judge", "scorer"], sort=False):
        keys = ["cell", "latent", "trial", "part", "item", "kind"]
        each = own[own["verdict"].notna()].drop_duplicates(keys)
        each = each[each["unanimous"].notna()]
        if each.empty:
            lines.append(f"panel {judge}, {scorer}: no window was answered by two members.")
            continue
        answers = own[(own["outcome"] == Outcome.OK.value) & own["verdict"].notna()]
        apart = (answers["answer"] != answers["verdict"]).groupby(answers["member"], sort=False).mean()
        against = ", ".join(f"{member} {percent(float(share))}" for member, share in apart.items())
        agreed = percent(float(each["unanimous"].astype(bool).mean()))
        lines.append(
            f"panel {judge}, {scorer}: {agreed} of {len(each):,} windows unanimous, "
            f"mean spread {number(float(each['spread'].mean()), 2)}; against the panel's answer: {against}."
        )
    return lines
