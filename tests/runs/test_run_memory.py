"""What is held of a run does not grow with what its units say."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest
from latentbench.kernel.requests import Outcome, Usage
from latentbench.runs.journal import Asked, Call, UnitPlaces
from latentbench.runs.record import Paid
from latentbench.runs.run_journals import judgement_journal
from latentbench.scorers.scorer import Judgement
from latentbench.suites import latent_views
from latentbench.suites.latent_views import LatentViews
from latentbench.suites.store import load_suite

LATENTS = [f"sae/{i}" for i in range(100)]


def judged(folder: Path, cells: Sequence[str], latents: Sequence[str], score: float = 0.5) -> None:
    """Judgements of each latent in each cell, appended to a journal."""
    folder.mkdir(exist_ok=True)
    journal = judgement_journal(folder)
    rows = tuple(Judgement(f"t/{i}", "", i, "random", 1, Outcome.OK, score, 1) for i in range(10))
    for cell in cells:
        for latent in latents:
            calls = tuple(Call(Usage(10, 1), 0.0) for _ in rows)
            journal.append((Asked(cell, latent, "hash", calls, Paid(calls=1)), rows))
    journal.close()


def places(folder: Path, cells: Sequence[str]) -> UnitPlaces[tuple[Asked, tuple[Judgement, ...]]]:
    return UnitPlaces(
        judgement_journal(folder), cells, LATENTS, lambda u: (u[0].cell, u[0].latent), lambda u: u[0].paid
    )


def most(folder: Path, cells: Sequence[str]) -> int:
    """Bytes at most while all units of a journal are found and read in another order."""
    tracemalloc.start()
    try:
        found = places(folder, cells)
        assert sum(len(given) for cell in reversed(cells) for _, given in found.of(cell)) == 1000 * len(cells)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_unit_on_disk_takes_eight_bytes(tmp_path: Path) -> None:
    few, many = [f"c{i}" for i in range(2)], [f"c{i}" for i in range(12)]
    judged(tmp_path / "few", few, LATENTS)
    judged(tmp_path / "many", many, LATENTS)
    most(tmp_path / "few", few)  # what is made once, by whoever comes first
    units = len(LATENTS) * (len(many) - len(few))
    # Its judgements would be some 5,000.
    assert (most(tmp_path / "many", many) - most(tmp_path / "few", few)) / units < 64


def test_the_last_line_of_a_unit_counts_and_every_line_was_paid(tmp_path: Path) -> None:
    judged(tmp_path / "run", ["b", "a"], LATENTS)
    judged(tmp_path / "run", ["a"], LATENTS[:1], score=0.75)
    found = places(tmp_path / "run", ["a", "b"])
    assert [place.latent for place, _ in found.of("a")] == LATENTS
    assert [given[0].score for _, given in found.of("a")][:2] == [0.75, 0.5]
    assert found.paid.calls == 2 * len(LATENTS) + 1
    with pytest.raises(KeyError):
        places(tmp_path / "run", ["missing"]).of("missing")


def test_views_are_made_when_they_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_views, "HELD", 2)
    suite = load_suite("planted-1")
    made: list[str] = []
    whole = type(suite).latent
    monkeypatch.setattr(type(suite), "latent", lambda self, latent: made.append(latent) or whole(self, latent))
    views = LatentViews(suite, suite.ids[:4])
    assert views.ids == tuple(suite.ids[:4])
    assert not made
    assert [view.id for view in views] == [*views.ids]
    assert views[3] is views[-1]
    assert [view.id for view in views[1:3]] == [*views.ids[1:3]]
    assert made == [*suite.ids[:4], *suite.ids[1:3]]
    assert views[0].id == made[-1] == suite.ids[0], "it is made again when others were looked at since"
