"""What `bench power` promises is what this project's intervals and tests find, by simulation; and a pilot is read as it is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from latentbench.analysis.sample_size import KnownSpread, SampleSize, from_pilot, stated
from latentbench.analysis.sample_size_view import assumptions, sample_size_page
from latentbench.kernel.errors import DataError, SpecError, UnknownName
from latentbench.runs.finished import load_run
from latentbench.stats.bootstrap import intervals_of, paired_difference

from tests.builders.run_builder import Grid, build_run

SD = 0.2


def simulated(spread: KnownSpread, effect: float, n: int, alpha: float, times: int, pairs: bool) -> tuple[float, float]:
    """How often the effect is found, and the mean half-width, by the intervals that tables print."""
    values = np.random.default_rng([n, times, pairs]).normal(effect, spread.sd, (times, n))
    intervals, p = intervals_of(values, 0, differences=pairs)
    return float(np.mean(p < alpha)), float(np.mean([(i.high - i.low) / 2 for i in intervals]))


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("n", [24, 100])
def test_the_stated_power_and_width_hold(n: int, pairs: bool) -> None:
    one, both = stated(SD)
    assert one is not None
    spread = both if pairs else one
    effect = spread.detectable(n, 0.05, 0.8)
    assert spread.chance(effect, n, 0.05) == pytest.approx(0.8, abs=1e-6)
    found, half = simulated(spread, effect, n, 0.05, 600, pairs)
    assert found == pytest.approx(0.8, abs=0.06)
    assert half == pytest.approx(spread.half_width(n), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("n", [24, 48, 192, 500])
@pytest.mark.parametrize("comparisons", [1, 6])
def test_the_stated_power_holds_everywhere(n: int, wanted: float, comparisons: int, pairs: bool) -> None:
    spread = KnownSpread("x", SD)
    alpha = 0.05 / comparisons
    effect = spread.detectable(n, alpha, wanted)
    found, _ = simulated(spread, effect, n, alpha, 4000, pairs)
    assert found == pytest.approx(wanted, abs=0.06), (found, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("changed", [0.2, 1.0])
def test_a_pilots_own_shape_is_counted_in(changed: float) -> None:
    """Differences that are mostly 0 have wider intervals than normal ones; the power from a pilot is still not too high."""
    from latentbench.analysis.sample_size import _measured

    rng, n, effect = np.random.default_rng(3), 48, 0.1

    def drawn(times: int, size: int) -> np.ndarray:
        return np.where(rng.random((times, size)) < changed, rng.normal(0, 0.3, (times, size)), 0.0)

    promised = []
    for values in drawn(60, 48):
        spread = _measured("x", list(values), None, None, differences=True)
        assert spread is not None
        promised.append(spread.chance(effect, n, 0.05))
    _, p = intervals_of(drawn(2000, n) + effect, 0, differences=True)
    assert np.mean(promised) < np.mean(p < 0.05) + 0.06


def test_as_many_latents_as_are_needed_suffice_and_one_fewer_do_not() -> None:
    _, spread = stated(SD, pairs=True)
    n = spread.needed(0.05, 0.05, 0.8)
    assert n is not None
    assert spread.chance(0.05, n, 0.05) >= 0.8 > spread.chance(0.05, n - 1, 0.05)
    assert spread.needed(5.0, 0.05, 0.8) == 24, "nothing is claimed below"
    assert spread.needed(1e-9, 0.05, 0.8) is None


def test_nothing_is_promised_below_24_latents() -> None:
    _, spread = stated(SD)
    assert all(
        math.isnan(x) for x in (spread.half_width(23), spread.chance(1.0, 23, 0.05), spread.detectable(23, 0.05, 0.8))
    )


def test_a_difference_spreads_less_where_scores_correlate() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(0, SD, 200_000)
    a, b = (0.8**0.5 * common + 0.2**0.5 * rng.normal(0, SD, common.size) for _ in range(2))
    assert stated(SD, correlation=0.8)[1].sd == pytest.approx(float((a - b).std()), rel=0.01)
    assert stated(SD)[1].sd == pytest.approx(SD * 2**0.5)
    assert stated(SD, pairs=True) == (None, KnownSpread("a difference of two explainers", SD))


@pytest.mark.parametrize("wrong", [{"sd": 0.0}, {"sd": -1.0}, {"sd": math.nan}, {"sd": 1.0, "correlation": 1.0}])
def test_a_spread_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SpecError, match="must be"):
        stated(**wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_run(
        tmp_path_factory.mktemp("pilot") / "run", Grid(coders={"res9": 30}, scorers=("detection", "fuzzing"))
    )


def test_a_pilot_says_its_spreads(pilot: Path) -> None:
    run = load_run(pilot)
    found = from_pilot(run, scorer="detection", explainers=["llm", "tokens"], effect=0.1)
    assert len(found) == 1
    plan = found[0]
    table = run.per_latent()
    mine = table[table["scorer"] == "detection"].pivot(index="latent", columns="explainer", values="value")
    assert plan.pairs.sd == pytest.approx(float((mine["llm"] - mine["tokens"]).std()))
    assert plan.pairs.n == 30
    assert plan.one is not None
    assert plan.one.sd == pytest.approx(max(float(mine["llm"].std()), float(mine["tokens"].std())))
    assert plan.comparisons == 1
    difference = paired_difference(mine["llm"], mine["tokens"], list(mine.index), seed=0, span=1.0)
    half = (difference.interval.high - difference.interval.low) / 2
    assert plan.pairs.half_width(30) == pytest.approx(half, rel=0.06), "as wide as what the pilot itself has"


def test_all_explainers_without_knowledge_are_left_out_unless_they_are_named(pilot: Path) -> None:
    run = load_run(pilot)
    plans = from_pilot(run)
    assert [p.about for p in plans] == ["accuracy of detection, judged by mock", "accuracy of fuzzing, judged by mock"]
    assert "shuffled" not in str(plans)
    three = from_pilot(run, "detection", explainers=["llm", "tokens", "shuffled"])[0]
    assert three.comparisons == 3
    assert three.alpha == pytest.approx(0.05 / 3)
    assert three.pairs.sd * three.pairs.wider == max(
        s.sd * s.wider for s in (three.pairs, *three.others) if " - " in s.of
    ), "the largest counts"


def test_what_a_pilot_lacks_is_named(pilot: Path, tmp_path: Path) -> None:
    run = load_run(pilot)
    with pytest.raises(UnknownName, match="Known: detection, fuzzing"):
        from_pilot(run, scorer="detecton")
    with pytest.raises(UnknownName, match="explainer of the run 'lm'"):
        from_pilot(run, explainers=["lm", "tokens"])
    with pytest.raises(
        SpecError, match=r"takes two explainers, and 1 of \S+ named; name two \(--explainer, twice\) of: "
    ):
        from_pilot(run, explainers=["llm"])
    few = load_run(build_run(tmp_path / "few", Grid(coders={"res9": 6})))
    with pytest.raises(DataError, match="6 latents, at least 8 are needed"):
        from_pilot(few)


def test_the_page_says_the_number_and_its_assumptions() -> None:
    one, both = stated(SD)
    plan = SampleSize("stated spread", both, one, effect=0.05, correlation=0.0)
    said = sample_size_page([plan]).markdown()
    needed = both.needed(0.05, 0.05, 0.8)
    assert f"{needed} latents: two explainers that differ by 0.05" in said
    assert "1.08 times as wide as Student's" in said
    assert "sqrt(2 (1 - correlation))" in said
    silent = SampleSize("stated spread", both, one, comparisons=6)
    assert any("No effect was named" in line for line in assumptions(silent))
    assert any("5 % over 6 comparisons" in line for line in assumptions(silent))
    assert "latents: two explainers" not in sample_size_page([silent]).markdown()
