"""Judgements on planted latents -> how good the judge is. Pure functions on the tables of runs.

Everything is computed per latent first and averaged over latents with a bootstrap over latents, as leaderboards do; only the
questions about a prompt's form (position, retest) pool judgements, because the prompt and not the latent is their unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from latentbench.judges.qualification import Mean, Position, Qualification, Retest
from latentbench.kernel.errors import DataError
from latentbench.leaderboards.forgery import differing
from latentbench.stats.bootstrap import bootstrap_mean
from latentbench.stats.ranking import auroc
from latentbench.suites.planted.planted_suite import NEAR
from latentbench.views.number import finite, rounded

PERMUTATIONS = 999
TOKENS = "tokens"
"""Label of the token list: what a judge must rank below the truth if it reads meanings and not only words."""
PARAPHRASE = "paraphrase"
TRIAL = ["asked", "explainer", "latent", "trial"]


def group(explanation: str) -> str:
    """Explanation label -> the group in which it is reported: `unrelated:1` -> `unrelated`."""
    return explanation.partition(":")[0]


def outranks(headline: pd.DataFrame, over: Iterable[str], of: str = "truth") -> pd.Series[float]:
    """Per latent: the share of some explanations that the truth (or `of`) outranks, a tie counting half.

    Args:
        headline: one row per latent, one column per explanation; NaN where there is no score. A comparison without both
            scores is left out, and a latent without any is not in the result.
        over: columns.
    """
    truth = headline[of]
    won = pd.DataFrame(
        {
            name: (np.sign(truth - headline[name]) + 1) / 2
            for name in over
            if name in headline  # sign of NaN is NaN
        }
    )
    share: pd.Series[float] = won.mean(axis=1).dropna()
    return share


def aurocs(judgements: pd.DataFrame) -> pd.DataFrame:
    """AUROC of the scores of judged windows; columns explainer, latent, kind (of the negative windows), value.

    Repeats are averaged. A window is ranked by its score, else the answer, else the largest of its tokens' scores; what has none
    of these (a text that the judge wrote) is not ranked.
    """
    judgements = judgements[judgements["rank"].notna()]
    rows = []
    for (_, explainer, latent), part in judgements.groupby(["asked", "explainer", "latent"], sort=False):
        on = part[part["truth"] == 1]
        if on.empty:
            continue
        for kind, off in part[part["truth"] == 0].groupby("kind", sort=False):
            labels = [1] * len(on) + [0] * len(off)
            rows.append((explainer, latent, kind, auroc(labels, [*on["rank"], *off["rank"]])))
    found = pd.DataFrame(rows, columns=["explainer", "latent", "kind", "value"])
    repeats = found.groupby(["explainer", "latent", "kind"], sort=False)["value"].mean()
    return repeats.reset_index()


def auroc_table(found: pd.DataFrame) -> dict[str, dict[str, Mean]]:
    """Explanation group -> kind -> mean over latents of `aurocs`."""
    table: dict[str, dict[str, Mean]] = {}
    grouped = found.assign(group=found["explainer"].map(group))
    for (name, kind), part in grouped.groupby(["group", "kind"], sort=False):
        table.setdefault(str(name), {})[str(kind)] = mean(part.groupby("latent")["value"].mean())
    return table


def by_family(values: pd.Series[float], family: Mapping[str, str]) -> dict[str, Mean]:
    """Means of per-latent values within each family of concepts, by name."""
    families = values.index.map(lambda latent: family[latent])
    return {str(name): mean(part) for name, part in values.groupby(families)}


def yes_bias(judgements: pd.DataFrame) -> Mean | None:
    """Share answered yes minus share of activating windows, given the truth; None for a method without answers."""
    used = judgements[(judgements["explainer"] == "truth") & judgements["answer"].notna()]
    if used.empty:
        return None
    return mean((used["answer"] - used["truth"]).groupby(used["latent"]).mean(), -1.0, 1.0)


def position(judgements: pd.DataFrame, seed: int) -> Position | None:
    """Accuracy by place in prompts with several windows, given the truth; None where there are none.

    p is (1 + permutations with at least the observed spread) / (1 + permutations); correctness is permuted within prompts, so
    a prompt that is hard as a whole says nothing about places. Other explanations are asked about the same windows in the same
    order: counting them as further prompts would make chance look certain.
    """
    used = judgements[(judgements["explainer"] == "truth") & judgements["answer"].notna()]
    sizes = used.groupby(TRIAL, sort=False)["truth"].transform("size")
    used = used[sizes > 1]
    if used.empty:
        return None
    prompt = used.groupby(TRIAL, sort=False).ngroup().to_numpy()
    order = np.argsort(prompt, kind="stable")
    place = used.groupby(TRIAL, sort=False).cumcount().to_numpy()[order]
    right = np.asarray(used["answer"] == used["truth"], np.float64)[order]
    prompt = prompt[order]
    counts = np.bincount(place)

    def accuracy(values: NDArray[np.float64]) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = np.bincount(place, weights=values) / counts
        return shares

    observed = accuracy(right)
    rng = np.random.default_rng(seed)
    reached = 0
    for _ in range(PERMUTATIONS):
        mixed = right[np.lexsort((rng.random(len(prompt)), prompt))]
        reached += bool(np.ptp(accuracy(mixed)) >= np.ptp(observed) - 1e-12)
    return Position(
        accuracy=tuple(observed.tolist()), spread=float(np.ptp(observed)), p=(1 + reached) / (1 + PERMUTATIONS)
    )


def retest(judgements: pd.DataFrame) -> Retest | None:
    """Agreement of the first asking with each later one on the windows that both judged; None where none was judged twice."""
    key = ["explainer", "latent", "item", "kind"]
    # A text that the judge wrote itself has no window, and nothing says which text of another asking it belongs to.
    judgements = judgements[judgements["item"].notna() & judgements["rank"].notna()]
    first = judgements[judgements["asked"] == 0]
    both = pd.concat(
        [
            first.merge(later, on=key, suffixes=("", "_again"))
            for n, later in judgements.groupby("asked", sort=True)
            if n != 0
        ]
        or [first.iloc[:0]]
    )
    if both.empty:
        return None
    a, b = both["rank"].to_numpy(np.float64), both["rank_again"].to_numpy(np.float64)
    answered = both["answer"].notna() & both["answer_again"].notna()
    same = (both["answer"] == both["answer_again"])[answered]
    graded = both["score"].notna().all() and np.ptp(a) > 0 and np.ptp(b) > 0
    return Retest(
        n=len(both),
        r=float(np.corrcoef(a, b)[0, 1]) if graded else None,
        same=float(same.mean()) if len(same) else None,
    )


def scored(judgements: pd.DataFrame) -> pd.DataFrame:
    """The `ok` judgements with a column `rank`; see `aurocs`."""
    ok = judgements[judgements["outcome"] == "ok"].copy()
    ok["score"] = ok["score"].astype(float)
    ok["answer"] = ok["answer"].astype(float)
    largest = ok["token_scores"].map(lambda p: float(np.max(p)) if p is not None and len(p) else np.nan)
    ok["rank"] = ok["score"].fillna(ok["answer"]).fillna(largest.astype(float))
    return ok


def mean(values: pd.Series[float] | Sequence[float], low: float | None = 0.0, high: float | None = 1.0) -> Mean:
    """Mean over latents with its interval.

    Args:
        low, high: least and greatest possible value; those of a share or an AUROC by default, None where there is none.
    """
    found = bootstrap_mean(np.asarray(values, np.float64), seed=0, low=low, high=high)
    if not found.n:
        raise ValueError("a mean over no latents.")
    return Mean(estimate=found.estimate, low=finite(found.low), high=finite(found.high), n=found.n)


def comparisons(headline: pd.DataFrame, family: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a `Qualification` that compare headlines."""
    unrelated = [str(name) for name in headline if group(str(name)) == "unrelated"]
    near = outranks(headline, NEAR)
    over = {"near": near, "unrelated": outranks(headline, unrelated)}
    for name, share in over.items():
        if share.empty:
            raise DataError(
                f"no latent has scores of the truth and of one {name} explanation; the judge answered too little."
            )
    over |= {which: outranks(headline, [which]) for which in (*NEAR, TOKENS)}
    paraphrase = {"near": outranks(headline, NEAR, PARAPHRASE), "unrelated": outranks(headline, unrelated, PARAPHRASE)}
    gap = (headline["truth"] - headline[PARAPHRASE]).dropna()
    return {
        "truth_over": {name: mean(values) for name, values in over.items() if len(values)},
        "truth_over_by_family": by_family(near, family),
        "unrelated_by_family": by_family(over["unrelated"], family),
        "paraphrase_over": {name: mean(values) for name, values in paraphrase.items() if len(values)},
        "paraphrase_gap": mean(gap, None, None) if len(gap) else None,
    }


def unfounded(row: Qualification) -> list[str]:
    """What in a row does not follow from the headlines that it holds, one sentence each. Rows of before hold none."""
    if not row.headlines:
        return []
    strangers = sorted({latent for values in row.headlines.values() for latent in values} - row.families.keys())
    if strangers:
        return [f"{strangers[0]} has a headline and no family"]
    headline = pd.DataFrame(row.headlines).reindex(sorted(row.families))
    try:
        again = comparisons(headline, row.families)
    except (DataError, KeyError) as e:
        return [f"its headlines cannot be compared: {e}"]
    found = []
    for name, ours in again.items():
        for place, (a, b) in differing(_plain(ours), _plain(getattr(row, name)), name):
            found.append(f"its headlines give {place} = {a}, and it says {b}")
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mean):
        return rounded(value.model_dump())
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value
