"""What calls cost, as an estimate: tokens that a provider counted times a table of prices.

No bill of a provider is read, so a sum may differ from what was charged.

A model without a known price costs `None`, never 0: a table that shows an unknown cost as free ranks it first. Models in this
process are free; a server of one's own is once its name has a row of zeros in the user's table (`LATENTBENCH_PRICES`). Output
tokens are priced by the number of output tokens.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from latentbench.kernel.config import Frozen, read_yaml
from latentbench.kernel.errors import SpecError
from latentbench.kernel.requests import JudgeIdentity, Usage

LOCAL = frozenset({"transformers", "vllm", "embed", "simulator", "mock", "panel"})
"""Providers that run in this process, unless they are given an endpoint, or have a member that is."""

OVERRIDE = "LATENTBENCH_PRICES"


class PriceRow(Frozen):
    """One row of a price table, in dollars per million tokens."""

    model: str = Field(min_length=1)
    """Shell pattern on the model's name."""
    input: float = Field(ge=0)
    cached: float = Field(ge=0)
    """Input tokens that the provider had in its cache."""
    output: float = Field(ge=0)
    date: date
    """Date on which the row was written down. That is no promise that it was compared with a price list then."""


_ROWS = TypeAdapter(list[PriceRow])


@lru_cache(maxsize=8)
def read_prices(path: Path) -> tuple[PriceRow, ...]:
    """Read a price table.

    Raises:
        SpecError: missing, not YAML, or not a list of `PriceRow` rows.
    """
    try:
        return tuple(_ROWS.validate_python(read_yaml(path)))
    except ValidationError as e:
        first = e.errors()[0]
        raise SpecError(f"{path}: price row {'.'.join(map(str, first['loc']))}: {first['msg']}") from e


def prices() -> tuple[PriceRow, ...]:
    """The user's table, if `LATENTBENCH_PRICES` names one, then the one of the package."""
    override = os.environ.get(OVERRIDE)
    own = read_prices(Path(override).expanduser()) if override else ()
    return own + read_prices(Path(__file__).with_name("prices.yaml"))


def find_price(model: JudgeIdentity | str, table: Sequence[PriceRow] | None = None) -> PriceRow | None:
    """The first row whose pattern fits the model's name, or None."""
    name = model if isinstance(model, str) else model.model
    # Gateways put the maker in front: "openai/gpt-4o".
    names = {name, name.rpartition("/")[2]}
    rows = prices() if table is None else table
    return next((row for row in rows if any(fnmatch.fnmatchcase(n, row.model) for n in names)), None)


def cost(usage: Usage, model: JudgeIdentity | str, table: Sequence[PriceRow] | None = None) -> float | None:
    """Dollars of one call or of a sum of calls; None where no price is known.

        cost = (input - cached) x p_input + cached x p_cached + output x p_output

    Args:
        usage: `tokens_cached` is part of `tokens_in`.
        model: whose usage it is; a local one costs 0.
        table: price rows instead of the user's and the package's.
    """
    if isinstance(model, JudgeIdentity) and is_local(model):
        return 0.0
    price = find_price(model, table)
    if price is None:
        return None
    fresh = usage.tokens_in - usage.tokens_cached
    return (fresh * price.input + usage.tokens_cached * price.cached + usage.tokens_out * price.output) / 1e6


ESTIMATE_NOTE = (
    "~: dollars are estimates, tokens times a price table that was never checked against a live price list "
    "(docs/numbers.md)."
)


def estimated(dollars: float | None) -> bool:
    """Whether a sum of money rests on the price table."""
    return bool(dollars)


def is_local(identity: JudgeIdentity) -> bool:
    """Whether a judge runs in this process. Where an endpoint's calls go is no part of what answers, so a server of one's own
    costs what its row in a price table says, and is unknown without one."""
    return identity.provider in LOCAL and identity.dtype != "remote"
