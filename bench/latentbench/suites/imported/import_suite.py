"""A foreign source -> a frozen suite, in the layout of every other one; no subject is run.

The manifest says what the suite cannot know (`unknown`), where it comes from (`source`, with the digest of every file) and
what was left out. It names no subject, so whatever must run one refuses the suite by the rule that holds for planted suites,
too. Filling what is unknown with a likely value is the tempting way: a rate of 0 or an empty list of tokens is read as a
measurement by whoever comes next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from latentbench.kernel.config import Frozen
from latentbench.kernel.errors import DataError, SpecError
from latentbench.kernel.file_name import Name
from latentbench.kernel.identity import digest, seed_for
from latentbench.kernel.tables import LATENTS, WINDOWS, table_of
from latentbench.suites.build.draw import Counts, LatentDraw, chosen, draw
from latentbench.suites.build.sampling import DECILES, Strategy, WindowPlan
from latentbench.suites.imported.foreign_draw import DrawnLatent, OtherWindows, draw_windows
from latentbench.suites.imported.foreign_latent import About, ForeignSource, ForeignWindow, Silence
from latentbench.suites.imported.suite_notes import KIND
from latentbench.suites.store import Suite, load_suite, save_suite

GROUP = 4096
"""Windows whose strings are made at a time."""
LARGEST, SMALLEST = 60_000.0, 2.0**-10
"""Largest activations of a latent between these are stored as they are; others are scaled by a power of two."""
TINY = 2.0**-24
"""Smallest number above 0 of float16."""

BORROWED: dict[Silence, str] = {
    "none": "silent test windows are windows of other latents; that this one is silent on them is likely and not known",
    "given": "silent test windows are the source's own, which does not say how it chose them, and windows of other latents, on "
    "which this one is likely to be silent",
    "random": "silent test windows beyond the source's own random ones are windows of other latents, on which this one is likely "
    "to be silent",
}
"""What is said of borrowed windows, by what the source's own silent windows are."""

SilentFrom = Literal["auto", "own", "others", "none"]


class ImportSettings(Frozen):
    """What is drawn from a source."""

    name: Name
    """Name of the suite."""
    version: str = Field(default="1-0", pattern=r"^\d+-\d+$")
    """Version `N-X`, as in a recipe."""
    coder: Name | None = None
    """Name of the coder in latent ids; the source's own by default."""
    seed: int = 0
    """Seed of every draw."""
    latents: int | None = Field(default=None, ge=1)
    """Number of latents to draw; all by default."""
    indices: tuple[int, ...] = ()
    """These latents instead of a draw."""
    min_windows: int = Field(default=8, ge=2)
    """A latent qualifies with at least this many activating windows."""
    strata: int = Field(default=8, ge=1)
    """Equal-count bins of firing rate, where the rates are known."""
    tune_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the latents that tuning may see."""
    explain: int = Field(default=20, ge=1)
    """Explain windows per latent."""
    sampling: Strategy = "quantile"
    """How explain windows are chosen, as in a recipe."""
    per_decile: int = Field(default=2, ge=1)
    """Activating test windows per decile."""
    negatives: int = Field(default=20, ge=0)
    """Silent test windows per latent."""
    contrast: int = Field(default=0, ge=0)
    """Silent explain windows per latent, as far as the source has some for that side."""
    copies: Literal["apart"] = "apart"
    """No explain window shares eight tokens in a row with a test window of its latent."""
    silent_from: SilentFrom = "auto"
    """Where silent test windows come from: the latent's own, windows of other latents, or nowhere. `auto` takes its own where the
    source drew them at random, else those of others."""

    @property
    def plan(self) -> WindowPlan:
        """The windows to draw for each latent."""
        return WindowPlan(self.explain, self.sampling, self.per_decile, self.negatives, True, self.contrast)


def import_suite(source: ForeignSource, settings: ImportSettings, out: Path) -> Suite:
    """Draw latents and windows from a source and freeze them.

    Args:
        source: what a reader found.
        settings: what to draw.
        out: folder of the suite.

    Raises:
        DataError: no latent qualifies. SpecError: a latent that the source does not have.
        DigestMismatch: the folder holds the same name and version with other content.
    """
    coder = settings.coder or source.about.coder
    drawn_latents = _chosen(source, settings, coder)
    plan = settings.plan if settings.silent_from != "none" else _without_negatives(settings.plan)
    seeds = [seed_for(KIND, settings.seed, coder, int(source.index[i])) for i in drawn_latents.index]
    found = [source.latent(int(i), plan, seed) for i, seed in zip(drawn_latents.index, seeds, strict=True)]
    borrows = settings.silent_from == "others" or (settings.silent_from == "auto" and source.about.silence != "random")
    others = OtherWindows(found) if borrows and len(found) > 1 else None
    drawn = [draw_windows(latent, plan, seed, others) for latent, seed in zip(found, seeds, strict=True)]
    usable = [bool(d.explain and d.test) for d in drawn]
    if not any(usable):
        raise DataError(
            f"{source.about.place}: none of {len(drawn)} latents has both explain and test windows: their "
            "windows are copies of each other, or stand on one side. Give more windows."
        )
    drawn = [d for d, keep in zip(drawn, usable, strict=True) if keep]
    tune = drawn_latents.tune[usable]
    stratum = drawn_latents.stratum[usable] if source.firing is not None else None
    unknown = _unknown(source.about, drawn, others is not None)
    scales = {f"{coder}/{d.latent.index}": scale for d in drawn if (scale := _scale(d)) != 1}
    rows = [
        _latent_row(d, source.about, plan, coder, bool(tune[i]), None if stratum is None else int(stratum[i]), scales)
        for i, d in enumerate(drawn)
    ]
    windows = _window_table(drawn, source, coder, scales)
    manifest = {
        "name": settings.name,
        "version": settings.version,
        "kind": KIND,
        "recipe": settings.model_dump(mode="json"),
        "source": _source(source.about),
        "unknown": unknown,
        "omitted": [*source.about.omitted, *_held_back(drawn, usable)],
        "coders": [_coder_entry(source, coder, drawn_latents, drawn, plan)],
        "latents": len(rows),
        "windows": windows.num_rows,
        "versions": {name: installed(name) for name in ("latentbench", "numpy", "pyarrow")},
    }
    if scales:
        manifest["scaled"] = scales
    save_suite(out, manifest, table_of(rows, LATENTS), windows)
    return load_suite(out)


def _without_negatives(plan: WindowPlan) -> WindowPlan:
    return WindowPlan(plan.explain, plan.sampling, plan.per_decile, 0, plan.centred, plan.contrast)


def _chosen(source: ForeignSource, settings: ImportSettings, coder: str) -> LatentDraw:
    """The latents to import, by their place in the source."""
    known = source.firing is not None
    counts = Counts(
        source.firing if source.firing is not None else np.zeros(len(source.index), np.int64), source.activating
    )
    strata = settings.strata if known else 1
    if settings.indices:
        missing = sorted(set(settings.indices) - set(source.index.tolist()))
        if missing:
            raise SpecError(
                f"{source.about.place} has no latent {', '.join(map(str, missing[:5]))}; it has {len(source.index):,}, from "
                f"{source.index[0]} to {source.index[-1]}."
            )
        places = np.searchsorted(source.index, np.array(sorted(set(settings.indices)), np.int64)).tolist()
        found = chosen(counts, places, settings.min_windows, strata, settings.tune_share)
    else:
        n = settings.latents or len(source.index)
        found = draw(counts, n, settings.min_windows, strata, settings.tune_share, settings.seed, coder)
    if not len(found.index):
        raise DataError(
            f"{source.about.place}: no latent has {settings.min_windows} windows in which it fires; the most that one has is "
            f"{int(source.activating.max(initial=0))}. Lower --min-windows."
        )
    return found


def _unknown(about: About, drawn: Sequence[DrawnLatent], borrowed: bool) -> dict[str, str]:
    """What cannot be known from the source and what follows from how this suite was drawn."""
    found = dict(about.unknown)
    if borrowed:
        found["negatives"] = BORROWED[about.silence]
    elif not any(d.silent for d in drawn):
        found["negatives"] = "there are no silent test windows, so scorers that need them refuse the suite"
    elif about.silence != "random":
        found["negatives"] = "how the source chose its silent windows is not known"
    return found


def _held_back(drawn: Sequence[DrawnLatent], usable: Sequence[bool]) -> list[str]:
    said = []
    if n := sum(d.held_back for d in drawn):
        said.append(f"{n:,} windows are on no side, because they share 8 or more tokens in a row with a test window")
    if n := len(usable) - sum(usable):
        said.append(f"{n:,} latents were left out, because all of their windows belong to one side")
    return said


def _scale(drawn: DrawnLatent) -> float:
    """A power of two that brings a latent's activations into what float16 holds; 1 for most."""
    top = max(w.max for w in (*drawn.explain, *drawn.test))
    return 1.0 if SMALLEST <= top <= LARGEST else 2.0 ** (9 - math.frexp(top)[1])


def _source(about: About) -> dict[str, Any]:
    found = {"format": about.format, "model": about.model, **about.said}
    return {
        **{name: value for name, value in found.items() if value is not None},
        "files": [{"name": f.name, "sha256": f.sha256} for f in about.files],
    }


def _coder_entry(
    source: ForeignSource, coder: str, chosen: LatentDraw, drawn: Sequence[DrawnLatent], plan: WindowPlan
) -> dict[str, Any]:
    about = source.about
    got = {
        "explain": (plan.explain, [len(d.explain) for d in drawn]),
        "positive": (plan.positives, [len(d.test) for d in drawn]),
        "negative": (plan.negatives, [d.random for d in drawn]),
    }
    entry = {
        "name": coder,
        "kind": about.kind,
        "hookpoint": about.hookpoint,
        "n_latents": about.n_latents,
        # No weights are known; what these activations are is said by the files that they stood in.
        "key": digest([KIND, about.format, sorted(f.sha256 for f in about.files)]),
        "asked": len(chosen.index),
        "qualifying": chosen.qualifying,
        "got": len(drawn),
        "short": {name: sum(n < asked for n in had) for name, (asked, had) in got.items()},
    }
    return {name: value for name, value in entry.items() if value is not None}


def _latent_row(
    drawn: DrawnLatent,
    about: About,
    plan: WindowPlan,
    coder: str,
    tune: bool,
    stratum: int | None,
    scales: dict[str, float],
) -> dict[str, Any]:
    latent = drawn.latent
    name = f"{coder}/{latent.index}"
    scale = scales.get(name, 1.0)
    seen = max(w.max for w in (*drawn.explain, *drawn.test))
    return {
        "latent": name,
        "coder": coder,
        "index": latent.index,
        "coder_kind": about.kind,
        "hookpoint": about.hookpoint,
        "split": "tune" if tune else "test",
        "stratum": stratum,
        "rate_token": latent.rate_token,
        "rate_context": latent.rate_context,
        "max_activation": scale * max(seen, latent.max or 0.0),
        "edges": [scale * e for e in drawn.edges.tolist()],
        "asked_explain": plan.explain,
        "got_explain": len(drawn.explain),
        "asked_positive": plan.per_decile * DECILES,
        "got_positive": len(drawn.test),
        "asked_negative": plan.negatives,
        "got_negative": drawn.random,
        "direction": [],
        "promoted": list(latent.promoted),
        "suppressed": list(latent.suppressed),
        "truth": None,
    }


def _window_table(
    drawn: Sequence[DrawnLatent], source: ForeignSource, coder: str, scales: dict[str, float]
) -> pa.Table:
    """One row per window, latent after latent: explain windows strongest first, then test windows by position.

    Where the source knows no positions, its texts are laid end to end, each text once.
    """
    place: dict[bytes, tuple[int, int]] = {}
    end = 0
    columns: dict[str, list[Any]] = {name: [] for name in ("latent", "role", "kind", "position", "context")}
    ids, values = [], []
    for d in drawn:
        name = f"{coder}/{d.latent.index}"
        made: list[tuple[str, str, ForeignWindow, int, int]] = []
        for role, windows in (("explain", (*d.explain, *d.contrast)), ("test", (*d.test, *d.silent))):
            for w in windows:
                if w.position is None or w.context is None:
                    if w.text not in place:
                        place[w.text] = (end, len(place))
                        end += len(w.ids)
                    position, context = place[w.text]
                else:
                    position, context = w.position, w.context
                kind = f"quantile:{w.decile}" if w.max > 0 else w.kind or "random"
                made.append((role, kind, w, position, context))
        made.sort(key=lambda m: (0, -m[2].max, m[3]) if m[0] == "explain" else (1, 0.0, m[3]))
        for role, kind, w, position, context in made:
            ids.append(w.ids)
            values.append(_halves(w, scales.get(name, 1.0)))
            for column, value in zip(columns, (name, role, kind, position, context), strict=True):
                columns[column].append(value)
    cuts = pa.array(np.concatenate([[0], np.cumsum([len(x) for x in ids])]).astype(np.int32), pa.int32())
    flat = {
        "ids": pa.array(np.concatenate(ids), pa.int32()),
        "tokens": _strings(source, ids),
        "activations": pa.array(np.concatenate(values), pa.float16()),
    }
    lists = {name: pa.ListArray.from_arrays(cuts, array) for name, array in flat.items()}
    return pa.table({f.name: lists.get(f.name, columns.get(f.name)) for f in WINDOWS}, schema=WINDOWS)


def _halves(window: ForeignWindow, scale: float) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Activations in float16; one that is too small for it stays above 0."""
    scaled = window.values * scale
    halves = scaled.astype(np.float16)
    return np.where((halves == 0) & (scaled > 0), np.float16(TINY), halves).astype(np.float16)


def _strings(source: ForeignSource, ids: Sequence[Any]) -> pa.Array:
    """Token strings of all windows one after another; a text that stands in several windows is made once."""
    known: dict[str, int] = {}
    texts: dict[bytes, Any] = {}
    for at in range(0, len(ids), GROUP):
        new = {w.tobytes(): w.tolist() for w in ids[at : at + GROUP] if w.tobytes() not in texts}
        for text, strings in zip(new, source.strings(list(new.values())), strict=True):
            texts[text] = np.array([known.setdefault(s, len(known)) for s in strings], np.int32)
    codes = np.concatenate([texts[w.tobytes()] for w in ids])
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(list(known), pa.string())).dictionary_decode()
