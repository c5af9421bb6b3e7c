"""Reruns are one row: equal explanations, asked about by one scorer and judged by one judge on one suite, count once.

Every run measures its floors anew, and whoever gives a command twice has every row twice. Both copies then tie with each other,
and a rank that should read 3 reads 3-10. Leaving out runs by their name is the tempting way, and would count the floors of any
two runs as rivals. So rows are told apart by what they are of: the suite, the keys of explainer, scorer and judge, and the texts.

The first of them counts, among those with the best coverage: a later copy can then never be chosen for its luck, and a run whose
calls failed does not stand for the one that had its answers. Rows of one run are never put together, because whoever puts one
explainer into a spec twice wants to see both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from latentbench.leaderboards.row import Row


@dataclass(frozen=True)
class Rerun:
    """A row, and rows of other runs with the same content.

    Attributes:
        shown: the one that counts.
        others: those that it stands for, oldest first.
    """

    shown: Row
    others: tuple[Row, ...]

    @property
    def spread(self) -> float:
        """Distance between the least and the greatest score of all of them; 0 where they have none."""
        known = [row.score.estimate for row in (self.shown, *self.others) if row.score.estimate is not None]
        return max(known) - min(known) if known else 0.0


def contents(row: Row) -> tuple[tuple[object, ...], ...]:
    """What a row is of, as two names of it: by the texts of its explainer, and by all explanations of its run.

    Rows of before have no digest of their own texts, so two rows are of one thing if either name is the same. A row without
    evidence has none.
    """
    held = row.evidence
    if held is None:
        return ()
    what = (*row.table, row.explainer.key, row.repeats)
    told = held.tables.get("explanations")
    names = [(*what, "texts", held.texts)] if held.texts is not None else []
    names += [(*what, "explanations", told)] if told is not None else []
    return tuple(names)


def once(rows: Sequence[Row]) -> tuple[list[Row], list[Rerun]]:
    """Rows without the reruns of others, in their order, and what was left out.

    Returns:
        The rows, and one `Rerun` for each that stands for others.
    """
    kept: list[Row] = []
    known: dict[tuple[object, ...], Row] = {}
    stood: dict[tuple[str, ...], list[Row]] = {}
    for row in sorted(rows, key=_standing):
        names = contents(row)
        first = next((known[name] for name in names if name in known), None)
        if first is None or first.run == row.run:
            kept.append(row)
            for name in names:
                known.setdefault(name, row)
        else:
            stood.setdefault(first.name, []).append(row)
    names_kept = {row.name for row in kept}
    shown = [row for row in rows if row.name in names_kept]
    return shown, [Rerun(row, tuple(sorted(stood[row.name], key=_age))) for row in shown if row.name in stood]


def sentences(reruns: Iterable[Rerun]) -> Iterator[str]:
    """What a page says of rows that stand for several, one sentence for each run that has them and runs that repeat them."""
    groups: dict[tuple[str, tuple[str, ...]], list[Rerun]] = {}
    for rerun in reruns:
        runs = tuple(dict.fromkeys(row.run for row in rerun.others))
        groups.setdefault((rerun.shown.run, runs), []).append(rerun)
    for (run, others), found in sorted(groups.items()):
        labels = ", ".join(dict.fromkeys(rerun.shown.explainer.label for rerun in found))
        apart = max(rerun.spread for rerun in found)
        how = f"scores differ by at most {apart:.2g}" if apart else "with the same scores"
        yield (
            f"{1 + len(others)} runs have the same explanations, scorer and judge, and are one row, that of {run}: "
            f"{labels} (again in {', '.join(others)}, {how})."
        )


def _standing(row: Row) -> tuple[object, ...]:
    """The best coverage first, then the oldest."""
    return (-(row.coverage or 0.0), *_age(row))


def _age(row: Row) -> tuple[str, str]:
    return (row.date, row.run)
