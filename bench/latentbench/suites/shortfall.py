"""What a suite was asked for and did not get, in words: latents, windows, and latents that no scorer can score.

A suite that is short is built all the same, since half of the latents are better than none; it is said at the end of the build
and whenever the suite is shown, because a table of scores does not show what is not in it. `bench suite build --strict` refuses
it instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from latentbench.kernel.errors import DataError

NAMED = 8
"""Latents named in a line at most."""

_SORTS = ("explain", "positive", "negative")
_LACKS = (
    ("got_explain", "no explain windows"),
    ("got_positive", "no test windows on which it fires"),
    ("got_negative", "no test windows on which it is silent"),
)


@dataclass(frozen=True)
class Shortfall:
    """How far a suite is from its recipe.

    Attributes:
        lines: what was asked for and what there is, per coder, for people.
        problems: what is short, one sentence each; empty if nothing is.
    """

    lines: tuple[str, ...]
    problems: tuple[str, ...]


def shortfall(manifest: Mapping[str, Any], latents: pa.Table) -> Shortfall:
    """Compare a suite with what it was asked for.

    Args:
        manifest: of the suite. Where it counts nothing per coder (planted, labelled and imported suites), windows are counted
            in the table.
        latents: its table of latents.
    """
    lines, problems = [], []
    drawn = [e for e in manifest.get("coders", ()) if {"name", "asked", "qualifying", "got"} <= set(e)]
    if not drawn:
        problems += [
            f"{_counted(n)} of {latents.num_rows:,} {'has' if n == 1 else 'have'} fewer {kind} windows than asked for"
            for kind, n in _short(latents).items()
            if n
        ]
    for entry in drawn:
        name, asked, got = entry["name"], entry["asked"], entry["got"]
        lines.append(f"{name}: {asked:,} latents asked for, {entry['qualifying']:,} qualify, {got:,} in the suite")
        if got < asked:
            problems.append(f"{name} has {got:,} latents of {asked:,}")
        if left := entry.get("left_out"):
            least = entry["min_windows"]
            said = [
                f"{index} (fires in {n} {f'of {least} windows' if n < least else 'windows, above max_windows'})"
                for index, n in left.items()
            ]
            problems.append(f"{name} leaves out {len(left):,} latents that were asked for: {_some(said)}")
        problems += [
            f"{n:,} latents of {name} have fewer {kind} windows than asked for"
            for kind, n in entry.get("short", {}).items()
            if n
        ]
    lacking = unscorable(latents)
    problems += [f"{_counted(len(ids))} cannot be scored ({why}): {_some(ids)}" for why, ids in lacking.items()]
    return Shortfall(tuple(lines), tuple(problems))


def refuse_short(name: str, manifest: Mapping[str, Any], latents: pa.Table) -> None:
    """Refuse a suite that is short of its recipe, before it is written.

    Raises:
        DataError: it is short; names everything that is.
    """
    if problems := shortfall(manifest, latents).problems:
        raise DataError(f"{name} is short of what its recipe asks for, and nothing is written: {'; '.join(problems)}.")


def _short(latents: pa.Table) -> dict[str, int]:
    """Sort of window -> latents that got fewer of it than asked for."""
    columns = latents.select([f"{said}_{kind}" for kind in _SORTS for said in ("asked", "got")]).to_pydict()
    return {
        kind: sum(
            (got or 0) < (asked or 0)
            for asked, got in zip(columns[f"asked_{kind}"], columns[f"got_{kind}"], strict=True)
        )
        for kind in _SORTS
    }


def unscorable(latents: pa.Table) -> dict[str, list[str]]:
    """Ids of latents that lack all windows of a sort that was asked for, by what they lack."""
    ids = latents.column("latent").to_pylist()
    found: dict[str, list[str]] = {}
    for column, why in _LACKS:
        asked = latents.column(column.replace("got", "asked")).to_pylist()
        lacking = [
            latent
            for latent, n, wanted in zip(ids, latents.column(column).to_pylist(), asked, strict=True)
            if wanted and n == 0
        ]
        if lacking:
            found[why] = lacking
    return found


def _some(names: list[str]) -> str:
    rest = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest:,} more" if rest > 0 else "")


def _counted(n: int) -> str:
    return "1 latent" if n == 1 else f"{n:,} latents"


def remarks(manifest: Mapping[str, Any]) -> list[str]:
    """What else a manifest says of its suite as a whole, one sentence each."""
    said = []
    if isinstance(note := manifest.get("promoted"), Mapping) and note.get("note"):
        said.append(str(note["note"]))
    if n := manifest.get("tokens_cut"):
        said.append(f"{n:,} tokens of the windows show U+FFFD, mostly for characters that a window cuts")
    if scales := manifest.get("scales"):
        said.append(
            f"{_counted(len(scales))} lie beyond float16: their activations are multiples of a power of two, which the manifest "
            f"names under `scales` ({_some(list(scales))})"
        )
    corpus = manifest.get("corpus")
    if isinstance(corpus, Mapping) and (n := corpus.get("spelled_control_tokens")):
        said.append(
            f"the text spells out {n:,} control tokens; `control_tokens` of the recipe's subject says how they are read"
        )
    return said
