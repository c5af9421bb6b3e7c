"""What a search found, in sentences: the same ones in the terminal, the page, the Markdown and MLflow. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from latentbench.stats.bootstrap import FEWEST
from latentbench.tuning.holdout import ALPHA, BETTER, OPEN, SAME, WORSE
from latentbench.views.number import count, dollars, estimate, number, p_is, percent, short, signed


def verdict(result: Mapping[str, Any]) -> str:
    """Whether tuning helped, in one sentence."""
    if not result["winners"]:
        return "No setting finished within the constraints."
    held = result["holdout"]
    if held is None:
        return "Not compared on held-out latents, so nothing is known about the winner but its score on those it was chosen on."
    if len(result["objectives"]) > 1:
        n = len(held["winners"])
        better = sum(w["verdict"] == BETTER for w in held["winners"])
        return (
            f"{better} of the {n} settings of the Pareto set that were re-run beat the default on held-out latents in something "
            "and lose in nothing."
        )
    (winner,), (objective,) = held["winners"], result["objectives"]
    if winner["verdict"] == SAME:
        return "Tuning found nothing better than the default setting on the tuning latents."
    d = winner["differences"][objective["name"]]
    gap = f"{gap_of(d)} over {d['n']} held-out latents, {p_is(d['p_holm'])}"
    if winner["verdict"] == BETTER:
        return f"The tuned setting is better than the default: {objective['name']} {gap}."
    if winner["verdict"] == WORSE:
        return f"The tuned setting is worse than the default: {objective['name']} {gap}."
    return f"No improvement shown: {objective['name']} {gap}."


def chance(result: Mapping[str, Any]) -> str | None:
    """Whether the choice beat choice among equals, in one sentence."""
    c = result["chance"]
    if c is None:
        return None
    lead = f"On the tuning latents the best of {c['candidates']} settings leads their mean by {number(c['gain'])}"
    alone = f"choosing the best of as many equal settings gives {number(c['null'])} by chance alone"
    if c["p"] < ALPHA:
        return (
            f"{lead}; {alone}. The difference, {number(c['gain'] - c['null'])}, is more than chance ({p_is(c['p'])})."
        )
    return f"{lead}; {alone}. That is what chance gives ({p_is(c['p'])})."


def shrinkage(result: Mapping[str, Any]) -> str | None:
    """How much of the lead over the default is left on held-out latents, in one sentence."""
    held = result["holdout"]
    if held is None or result["default"] is None or len(result["objectives"]) > 1 or held["winners"][0]["same"]:
        return None
    name = result["objectives"][0]["name"]
    by_number = {t["number"]: t for t in result["trials"]}
    lead = by_number[result["winners"][0]]["means"][name] - by_number[result["default"]]["means"][name]
    left = held["winners"][0]["differences"][name]["estimate"]
    return (
        f"Its lead over the default was {signed(lead)} on the tuning latents, where it was chosen, and is {signed(left)} on the "
        "held-out ones."
    )


def matters(result: Mapping[str, Any]) -> list[str]:
    """Say which parameters mattered, in a sentence per objective."""
    found = []
    for name, rows in result["importances"].items():
        if not rows:
            found.append(f"{name}: too few trials to say which parameters mattered.")
            continue
        above = [r["parameter"] for r in rows if r["importance"] > r["chance"]]
        found.append(
            f"{name}: {', '.join(above)} mattered more than chance."
            if above
            else f"{name}: no parameter mattered more than chance."
        )
    return found


def counts(result: Mapping[str, Any]) -> str:
    """How many trials ended how."""
    found = Counter(t["state"] for t in result["trials"])
    words = {
        "complete": "on all latents",
        "stopped": "stopped early",
        "failed": "failed",
        "lost": "lost and queued again",
        "repeat": "repeats",
        "running": "running",
        "waiting": "waiting",
    }
    parts = [f"{found[state]} {word}" for state, word in words.items() if found[state]]
    broken = sum(t["state"] == "complete" and bool(t["breaks"]) for t in result["trials"])
    return ", ".join(parts) + (f"; {broken} break a constraint" if broken else "")


def price(result: Mapping[str, Any]) -> str:
    """What the search paid."""
    s = result["spent"]
    cost = "unknown price" if s["dollars"] is None else f"${dollars(s['dollars'])}"
    return (
        f"{count(s['calls'])} calls, {short(s['tokens'])} tokens, {cost}, {number(s['minutes'], 1)} minutes in trials"
    )


def limits(result: Mapping[str, Any]) -> list[str]:
    """What the search does not show; never empty."""
    found = []
    held = result["holdout"]
    if held is not None and held["latents"] < FEWEST:
        found.append(f"{held['latents']} held-out latents are too few for a verdict; it takes {FEWEST}.")
    if held is not None and any(w["verdict"] == OPEN for w in held["winners"]):
        found.append("A difference that was not shown may still be there; the interval says how large it could be.")
    if held is not None:
        least = min([held["default"]["coverage"], *(w["coverage"] for w in held["winners"])])
        if least < 1:
            found.append(
                f"Judgements are missing in the held-out runs (coverage down to {percent(least, 1)}); they are not scored."
            )
    if _instrument(result):
        found.append(
            "The space reaches into scorers or judges: a better score can mean a better instrument, not better explanations."
        )
    stopped = sum(t["state"] == "stopped" for t in result["trials"])
    if stopped and result["chance"] is not None:
        found.append(
            f"The chance level is over the {result['chance']['candidates']} settings that saw all latents; {stopped} that were "
            "clearly worse were stopped and are not candidates, which makes the comparison with chance stricter."
        )
    if result["default"] is None:
        found.append("The default setting did not finish on the tuning latents.")
    git = result.get("git")
    if git and git["dirty"]:
        found.append("The code had local changes that the recorded revision does not contain.")
    found.append(
        "The winner is the best of what was tried on this suite with these judges; it says nothing about others."
    )
    return found


def _instrument(result: Mapping[str, Any]) -> bool:
    from latentbench.tuning.space import holes

    run = result["spec"]["run"]
    return any(True for part in ("scorers", "judges") for _ in holes(run.get(part, [])))


def gap_of(d: Mapping[str, Any]) -> str:
    """A difference with its interval."""
    return estimate(d["estimate"], d["low"], d["high"], write=signed)
