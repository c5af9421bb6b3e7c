"""A finished search -> what its parent in MLflow shows: the winner, what it is worth, and the trials from the best down. Pure.

MLflow shows the beginning of a description, some four lines. The winner's score on the latents it was chosen on is the tempting
first line, and is too high by the choice itself; so the verdict on held-out latents stands first, then who won by which score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latentbench.tracking.entries import DETAILS, OTHER, SCORE, SPENT, known, part
from latentbench.tracking.run_board import NOTE_CHARS
from latentbench.tuning.summary import chance, shrinkage, verdict
from latentbench.tuning.tune_report import held_out_table, setting_text, settings_table, trials_table
from latentbench.views.escape import line, markdown, markdown_prose
from latentbench.views.number import estimate, number, percent
from latentbench.views.table import Table


def winner_of(result: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The trial that won; of a Pareto set the first; None where no setting finished within the constraints."""
    return next((t for t in result["trials"] if t["number"] in result["winners"][:1]), None)


def won(result: Mapping[str, Any]) -> str:
    """Which trial won, with what setting and what scores, in one line; for a column and the top of a page."""
    winner = winner_of(result)
    if winner is None:
        return "no trial"
    settings = ", ".join(f"{name} {setting_text(value)}" for name, value in winner["settings"].items())
    scores = [f"{o['name']} {number(winner['means'].get(o['name']))}" for o in result["objectives"]]
    seen = f"on {winner['latents']} tuning latents, coverage {percent(winner['coverage'])}"
    return f"trial {winner['number']} ({settings}): {', '.join(scores)} {seen}"


def held_out(result: Mapping[str, Any]) -> list[str]:
    """The winner and the default on held-out latents, a line per objective; nothing where they were not compared."""
    held = result["holdout"]
    if held is None or not held["winners"]:
        return []
    winner, default, found = held["winners"][0], held["default"], []
    for o in result["objectives"]:
        a, b = winner["means"][o["name"]], default["means"][o["name"]]
        told = [f"{name} {estimate(m['estimate'], m['low'], m['high'])}" for name, m in (("winner", a), ("default", b))]
        found.append(f"Held out: {o['name']}, {', '.join(told)}, n {a['n']}, coverage {percent(winner['coverage'])}.")
    return found


def description(result: Mapping[str, Any], most: int = NOTE_CHARS) -> str:
    """Markdown of the parent's description; trials that have no room are in the artifacts, and it says so."""
    lines = [f"- {markdown_prose(verdict(result))}", f"- **Winner: {markdown(won(result))}**"]
    lines += [f"- {markdown_prose(text)}" for text in held_out(result)]
    lines += [f"- {markdown_prose(text)}" for text in (chance(result), shrinkage(result)) if text]
    parts = ["\n".join(lines) + "\n"]
    if result["winners"]:
        parts.append(f"\n{settings_table(result).markdown(3)}")
    if result["holdout"] is not None and result["holdout"]["winners"]:
        parts.append(f"\n{held_out_table(result).markdown(3)}")
    ranked = ranked_trials(result)
    shown, rest = (
        len(ranked.rows),
        "\nEvery trial is in `trials.json` and the page of the search, among the artifacts.\n",
    )
    while shown:
        grid = Table("Trials, the best first", ranked.columns, ranked.rows[:shown]).markdown(3)
        if sum(map(len, [*parts, grid, rest])) < most:
            parts.append(f"\n{grid}")
            break
        shown //= 2
    text = "".join([*parts, rest])
    return text if len(text) <= most else f"{lines[0]}\n{lines[1]}\n{rest}"


def ranked_trials(result: Mapping[str, Any]) -> Table:
    """Trials from the best down: winners, then complete ones by the first objective, then all others as they began."""
    objective = result["objectives"][0]
    sign = -1.0 if objective["larger_is_better"] else 1.0
    table = trials_table(result)
    trials = [t for t in result["trials"] if t["state"] != "repeat"]

    def order(i: int) -> tuple[float, ...]:
        t = trials[i]
        value = t["means"].get(objective["name"])
        won = result["winners"].index(t["number"]) if t["number"] in result["winners"] else len(trials)
        usable = t["state"] == "complete" and not t["breaks"] and value is not None
        return (won, not usable, sign * value if usable else 0.0, t["number"])

    return Table(table.title, table.columns, [table.rows[i] for i in sorted(range(len(trials)), key=order)])


def trials_json(result: Mapping[str, Any]) -> dict[str, Any]:
    """Trials from the best down as the table that MLflow's views read."""
    table = ranked_trials(result)
    data = [[line(cell) if isinstance(cell, str) else cell for cell in row] for row in table.rows]
    return {"columns": [line(column.name) for column in table.columns], "data": data}


def metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of the parent: the winner and the default by objective, held out and on tuning latents, and what was spent."""
    winner, held = winner_of(result), result["holdout"]
    default = next((t for t in result["trials"] if t["number"] == result["default"]), None)
    found: dict[str, Any] = {}
    for o in result["objectives"]:
        place = f"{SCORE}/{part(o['name'])}"
        if held and held["winners"]:
            first = held["winners"][0]
            for who, side in (("winner", first), ("default", held["default"])):
                found |= _estimate(f"{place}/held_out", who, side["means"][o["name"]])
                found[f"{place}/held_out/{DETAILS}/{who}_coverage"] = side["coverage"]
            if d := first["differences"].get(o["name"]):
                found |= _estimate(f"{place}/held_out", "difference", d)
                found[f"{place}/held_out/{DETAILS}/difference_p"] = d["p_holm"]
        for who, trial in (("winner", winner), ("default", default)):
            if trial is not None:
                found[f"{place}/tuning/{who}"] = trial["means"].get(o["name"])
                found[f"{place}/tuning/{DETAILS}/{who}_n"] = trial["latents"]
                found[f"{place}/tuning/{DETAILS}/{who}_coverage"] = trial["coverage"]
    if result["chance"]:
        found |= {f"{OTHER}/chance/{part(k)}": v for k, v in result["chance"].items()}
    for name, rows in result["importances"].items():
        found |= {f"{OTHER}/importance/{part(name)}/{part(r['parameter'])}": r["importance"] for r in rows}
    found |= {f"{SPENT}/{k}": v for k, v in result["spent"].items()}
    for state in {t["state"] for t in result["trials"]}:
        found[f"{SPENT}/trials_{state}"] = sum(t["state"] == state for t in result["trials"])
    return known(found)


def trial_metrics(result: Mapping[str, Any], trial: Mapping[str, Any]) -> dict[str, float]:
    """Metrics of one trial's run; the same names for every trial, so that one chart compares them."""
    found: dict[str, Any] = {}
    objectives = {o["name"] for o in result["objectives"]}
    for name, value in trial["means"].items():
        place = f"{SCORE if name in objectives else OTHER}/{part(name)}/tuning"
        found |= {f"{place}/mean": value, f"{place}/{DETAILS}/n": trial["latents"]}
        found[f"{place}/{DETAILS}/coverage"] = trial["coverage"]
    return known(found | {f"{SPENT}/{k}": v for k, v in (trial["spent"] or {}).items()})


def _estimate(place: str, name: str, e: Mapping[str, Any]) -> dict[str, Any]:
    more = {f"{place}/{DETAILS}/{name}_{end}": e[end] for end in ("low", "high", "n")}
    return {f"{place}/{name}": e["estimate"], **more}
