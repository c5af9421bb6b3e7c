"""Qualifications -> the leaderboard of judges, as Markdown and for the terminal. Pure but for `render`.

Rows are grouped by how the judge was asked, on which latents: only those compare. The oracle and the constant judge are rows like
all others. The oracle is the ceiling (a window-level task cannot tell the right token from its neighbour), the constant judge the
floor, and a figure between them means little without both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from latentbench.judges.price import ESTIMATE_NOTE, as_text, estimated
from latentbench.judges.qualification import Mean, Qualification, read
from latentbench.kernel.errors import DataError
from latentbench.kernel.files import write_text
from latentbench.kernel.kinds import NEAR_MISS
from latentbench.suites.planted.planted_suite import NEAR

PAGE = "README.md"
NONE = "–"
HEAD = """# Judges

Rendered from the JSON files beside this page by `bench judge leaderboard`; do not edit. A judge is asked about planted latents,
whose truth is known, with the true explanation, a paraphrase, four near misses and three unrelated ones.

- **truth > near**, **truth > unrelated**: share of latents on which the truth has the higher headline metric; a tie counts half,
  so chance is 50 %. In brackets: 95 % bootstrap interval over latents.
- **AUROC**: of the truth, activating windows against random silent ones and against silent ones in which a near miss fires; of
  unrelated explanations against random windows, which should be 0.5.
- **retest**: the same windows asked again: correlation of the probabilities / share of equal answers.
- **position**: largest minus smallest accuracy over the places of a list prompt, with a permutation p.
- **yes bias**: share answered yes minus share of activating windows, given the truth.
- `mock:oracle` evaluates the rules themselves: the ceiling of the task. `mock:constant` answers always the same: the floor.
"""


def markdown(rows: Sequence[Qualification]) -> str:
    """The page."""
    parts = [HEAD]
    for title, same in _groups(rows):
        parts += [f"## {title}\n", _main(same), "Truth > each near miss, and families:\n", _detail(same)]
        parts += [f"- `{r.judge}`, {r.date}: `{r.command}`" for r in same]
        parts.append("")
    return "\n".join(parts) if rows else f"{HEAD}\nNo judge is qualified yet.\n"


def render(folder: Path, check: bool = False) -> Path:
    """Write the page of a folder of rows, or with `check` only compare it.

    Raises:
        DataError: with `check`, the page is not what the rows render to.
    """
    path, text = folder / PAGE, markdown(read(folder))
    if not check:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    elif not path.exists() or path.read_text(encoding="utf-8") != text:
        raise DataError(f"{path} is not what its folder renders to. Run `bench judge leaderboard` and commit both.")
    return path


def terminal(rows: Sequence[Qualification]) -> RenderableType:
    """For a terminal of 80 columns: one short table, then what does not fit as lines."""
    parts: list[RenderableType] = []
    for title, same in _groups(rows):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("judge", ">near", ">unrel.", "AUROC", "near-miss", "unrel.", "cover", "n"):
            table.add_column(Text(name), justify="left" if name == "judge" else "right", overflow="fold")
        for r in same:
            table.add_row(
                Text(r.judge),
                _percent(r.truth_over.get("near")),
                _percent(r.truth_over.get("unrelated")),
                _number(_auroc(r, "truth", "random")),
                _number(_auroc(r, "truth", NEAR_MISS)),
                _number(_auroc(r, "unrelated", "random")),
                f"{r.coverage:.0%}",
                str(r.latents),
            )
        parts += [Text(title, style="bold"), table]
        for r in same:
            near = ", ".join(f"{which} {_percent(r.truth_over.get(which))}" for which in NEAR)
            parts.append(Text(f"{r.judge}: truth > {near}", style="dim"))
            parts.append(Text(f"  retest {_retest(r)}, position {_position(r)}, yes bias {_bias(r)}", style="dim"))
            parts.append(Text(f"  {_price(r)}", style="dim"))
        parts.append(Text())
    if any(estimated(r.dollars) for r in rows):
        parts.append(Text(ESTIMATE_NOTE, style="dim"))
    return Group(*parts)


def _groups(rows: Iterable[Qualification]) -> list[tuple[str, list[Qualification]]]:
    def key(r: Qualification) -> tuple[str, ...]:
        return (r.scorer_label, r.scorer, r.question_key, r.suite, r.suite_digest, r.split)

    ordered = sorted(rows, key=lambda r: (*key(r), -r.truth_over["near"].estimate, r.judge))
    return [(f"{k[0]} ({k[1]}), {k[3]}, split {k[5]}", list(same)) for k, same in groupby(ordered, key)]


def _main(rows: Sequence[Qualification]) -> str:
    head = [
        *("judge", "truth > near", "truth > unrelated", "AUROC random", "AUROC near-miss", "AUROC unrelated"),
        *("retest", "position", "yes bias", "coverage", "latents", "windows", "tokens", "$", "s"),
    ]
    lines = [
        (
            f"`{r.judge}`",
            _interval(r.truth_over.get("near"), percent=True),
            _interval(r.truth_over.get("unrelated"), percent=True),
            _interval(_auroc(r, "truth", "random")),
            _interval(_auroc(r, "truth", NEAR_MISS)),
            _interval(_auroc(r, "unrelated", "random")),
            _retest(r),
            _position(r),
            _bias(r),
            f"{r.coverage:.0%}",
            str(r.latents),
            str(r.judgements),
            f"{r.tokens:.0f}",
            as_text(r.dollars),
            f"{r.seconds:.2g}",
        )
        for r in rows
    ]
    note = (
        "windows: judged in all. tokens, $ and s: of the calls behind a judged window, cached ones counted as if made."
    )
    if any(estimated(r.dollars) for r in rows):
        note += f" {ESTIMATE_NOTE}"
    return f"{_table(head, lines)}\n{note}\n"


def _detail(rows: Sequence[Qualification]) -> str:
    families = sorted({name for r in rows for name in r.truth_over_by_family})
    head = ("judge", *(f"> {which}" for which in NEAR), *families, "truth - paraphrase")
    lines = [
        (
            f"`{r.judge}`",
            *(_percent(r.truth_over.get(which)) for which in NEAR),
            *(_percent(r.truth_over_by_family.get(name)) for name in families),
            _interval(r.paraphrase_gap),
        )
        for r in rows
    ]
    return _table(head, lines)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    body = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in body) + "\n"


def _auroc(r: Qualification, explanation: str, kind: str) -> Mean | None:
    return r.auroc.get(explanation, {}).get(kind)


def _percent(m: Mean | None) -> str:
    return NONE if m is None else f"{m.estimate:.0%}"


def _number(m: Mean | None) -> str:
    return NONE if m is None else f"{m.estimate:.2f}"


def _interval(m: Mean | None, percent: bool = False) -> str:
    if m is None:
        return NONE
    if percent:
        bounds = "" if m.low is None or m.high is None else f" [{m.low:.0%}, {m.high:.0%}]"
        return f"{m.estimate:.0%}{bounds}"
    bounds = "" if m.low is None or m.high is None else f" [{m.low:.2f}, {m.high:.2f}]"
    return f"{m.estimate:.2f}{bounds}"


def _retest(r: Qualification) -> str:
    if r.retest is None:
        return NONE
    parts = [NONE if x is None else f"{x:.3f}" for x in (r.retest.r, r.retest.same)]
    return f"{' / '.join(parts)} (n={r.retest.n})"


def _position(r: Qualification) -> str:
    return NONE if r.position is None else f"{r.position.spread:.2f} (p={r.position.p:.2g})"


def _bias(r: Qualification) -> str:
    return NONE if r.yes_bias is None else f"{r.yes_bias.estimate:+.2f}"


def _price(r: Qualification) -> str:
    dollars = as_text(r.dollars)
    return f"{r.judgements} judgements; per judgement {r.tokens:.0f} tokens, ${dollars}, {r.seconds:.2g} s"
