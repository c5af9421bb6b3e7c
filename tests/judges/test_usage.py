"""Cost of calls, worked by hand."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from latentbench.judges import price as usage
from latentbench.judges.price import PriceRow, cost, find_price, prices, read_prices
from latentbench.kernel.errors import SpecError
from latentbench.kernel.requests import JudgeIdentity, Usage
from latentbench.views.number import dollars

TABLE = [
    PriceRow(model="big-mini*", input=1.0, cached=0.5, output=4.0, date=date(2025, 1, 1)),
    PriceRow(model="big*", input=10.0, cached=5.0, output=40.0, date=date(2025, 1, 1)),
]


def test_input_cached_and_output_tokens_have_their_own_prices():
    usage = Usage(tokens_in=1000, tokens_out=200, tokens_cached=400)
    # 600 x 10 + 400 x 5 + 200 x 40 = 16,000 dollars per million
    assert cost(usage, "big", TABLE) == pytest.approx(0.016)


def test_output_is_priced_by_the_number_of_output_tokens():
    assert cost(Usage(tokens_in=1_000_000), "big", TABLE) == pytest.approx(10)
    assert cost(Usage(tokens_out=1_000_000), "big", TABLE) == pytest.approx(40)


def test_an_unknown_model_costs_none_and_not_nothing():
    assert cost(Usage(1000, 10), "small", TABLE) is None
    assert (
        cost(Usage(1000, 10), JudgeIdentity("openai", "who-knows", "unknown", "remote", (("endpoint", "default"),)))
        is None
    )


def test_local_models_are_free():
    for provider in ("transformers", "vllm", "embed", "mock"):
        assert cost(Usage(1000, 10), JudgeIdentity(provider, "big", "r", "d")) == 0
    for provider in ("openai", "embed"):
        assert cost(Usage(1_000_000), JudgeIdentity(provider, "big", "unknown", "remote"), TABLE) == pytest.approx(10)
        # Where a server stands is no part of the identity: one of your own is free once your table says so.
        own = [PriceRow(model="big", input=0, cached=0, output=0, date=date(2026, 1, 1)), *TABLE]
        assert cost(Usage(1_000_000), JudgeIdentity(provider, "big", "unknown", "remote"), own) == 0


def test_the_first_pattern_that_fits_is_used_and_gateways_may_put_the_maker_in_front():
    assert find_price("big-mini-2025", TABLE) is TABLE[0]
    assert find_price("maker/big-2", TABLE) is TABLE[1]


def test_the_package_has_a_table_in_which_every_row_can_be_reached():
    table = prices()
    assert len(table) >= 8
    for row in table:
        assert find_price(row.model.replace("*", ""), table) is row
        assert row.cached <= row.input <= row.output


def test_a_table_of_ones_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "prices.yaml"
    path.write_text("- {model: 'gpt-4o', input: 1, cached: 1, output: 1, date: 2026-01-01}\n", encoding="utf-8")
    monkeypatch.setenv("LATENTBENCH_PRICES", str(path))
    assert cost(Usage(500_000, 500_000), "gpt-4o") == pytest.approx(1)
    bad = tmp_path / "bad.yaml"
    bad.write_text("- {model: x, input: -1, cached: 1, output: 1, date: 2026-01-01}\n", encoding="utf-8")
    with pytest.raises(SpecError, match=r"0\.input"):
        read_prices(bad)


def test_the_packaged_table_says_that_nobody_checked_it():
    text = (Path(usage.__file__).parent / "prices.yaml").read_text(encoding="utf-8")
    assert "checked: never against a live price list" in text
    assert "never checked against a live price list" in usage.ESTIMATE_NOTE


def test_money_is_written_as_an_estimate_and_nothing_as_nothing():
    assert [dollars(x) for x in (None, 0.0, 0.0001234, 12.3)] == ["–", "0", "~0.00012", "~12"]
