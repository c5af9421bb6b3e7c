"""A latents cache of delphi: every activation of a coder over rows of tokens, which is enough for a whole suite.

    latents/<hookpoint>/<start>_<end>.safetensors    locations [entries, 3] (row, position, latent - start),
                                                     activations [entries],
                                                     tokens [rows, context]
                        config.json                  dataset, and the name of the model

Unlike windows that somebody chose, a cache knows where a latent is silent. So latents and windows are drawn by the very
functions of a suite that is built here: random negatives are random, rates are rates, and deciles are those of all windows.
Latents are drawn before their windows are cut, and one file is in memory at a time, because a cache of ten million tokens has
hundreds of millions of entries.

Token ids are numbers of the subject's tokenizer, which must be here: the folder or hub name in `config.json`, or
`--tokenizer`. Special tokens stay in their windows as the tokenizer writes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from latentbench.kernel.errors import DataError, ModelError
from latentbench.kernel.identity import seed_for
from latentbench.kernel.inputs import MIB, most, read_json, too_large
from latentbench.suites.build.draw import count
from latentbench.suites.build.sampling import EXPLAIN, Ints, Tiles, WindowPlan, sample, tile
from latentbench.suites.build.token_strings import TokenStrings
from latentbench.suites.imported.foreign_files import listed, number_of, source_files, text_of
from latentbench.suites.imported.foreign_latent import About, ForeignLatent, ForeignSource, ForeignWindow, Omission
from latentbench.suites.imported.held_windows import INDEX
from latentbench.suites.imported.import_options import ImportOptions, coder_name

FORMAT = "delphi"
WINDOW = 32
"""Tokens of a window where nothing is said; delphi's own default."""
FILE_BYTES = 16384 * MIB
TOKENS = 1 << 31
NAME = re.compile(r"(\d{1,9})_(\d{1,9})\.safetensors")
UNKNOWN = {
    "subject": "no subject was run and none can be: interventions and `subject:` judges refuse the suite",
    "promoted": "which tokens a latent writes for is not in a cache",
}


@dataclass(frozen=True, eq=False)
class _Part:
    """The entries of one file, latent after latent and ascending in position.

    Attributes:
        start: coordinate of its first latent.
        indptr: bounds of each latent's entries [latents + 1].
        position: in the rows laid end to end [entries].
        value: activations [entries].
    """

    start: int
    indptr: Ints
    position: Ints
    value: NDArray[np.float32]


class DelphiCache:
    """A `ForeignSource` over the files of one hookpoint.

    Raises:
        DataError: a file that is none of a cache, or files that do not belong together.
    """

    def __init__(
        self, about: About, files: Sequence[Path], options: ImportOptions, strings: TokenStrings, n: int
    ) -> None:
        self._files = {int(_named(f)[0]): f for f in files}
        self._strings = strings
        self._tokens = _tokens(files[0])
        rows, context = self._tokens.shape
        window = options.window or WINDOW
        if window > context:
            raise DataError(f"{files[0]}: its rows have {context} tokens, fewer than a window of {window} (--window).")
        if self._tokens.size and int(self._tokens.max()) >= n:
            raise DataError(
                f"{files[0]}: token {int(self._tokens.max()):,} is not one of the tokenizer's {n:,}; it is another model's. Give "
                "the right one with --tokenizer."
            )
        self._silent_below = options.silent_below
        self._tiles: Tiles = tile(np.arange(rows + 1, dtype=np.int64) * context, window)
        self._held: _Part | None = None
        tally = Omission()
        index, activating, firing, self._width = [], [], [], 0
        for path in files:
            part = self._part(path, tally)
            counts = count(part.indptr, part.position, part.value, self._tiles)
            here = np.flatnonzero(counts.tokens > 0)
            if options.wanted is not None:
                here = here[np.isin(here + part.start, sorted(options.wanted))]
            index.append(here + part.start)
            activating.append(counts.windows[here])
            firing.append(counts.tokens[here])
            self._width = max(self._width, part.start + len(part.indptr) - 1)
        self.index: Ints = np.concatenate(index).astype(np.int64)
        self.activating: Ints = np.concatenate(activating)
        self.firing: Ints | None = np.concatenate(firing)
        if not len(self.index):
            raise DataError(f"{files[0].parent}: no latent fires in the cache.")
        said = {**about.said, "rows": f"{rows:,} of {context} tokens"}
        self.about = replace(about, said=said, omitted=tally.said(), n_latents=self._width)

    def latent(self, place: int, plan: WindowPlan, seed: int) -> ForeignLatent:
        """The latent with the windows that the plan asks for, drawn as in a suite that is built here."""
        index = int(self.index[place])
        start = max(s for s in self._files if s <= index)
        if self._held is None or self._held.start != start:
            self._held = self._part(self._files[start], Omission())
        entries = slice(*self._held.indptr[index - start : index - start + 2].tolist())
        positions, values = self._held.position[entries], self._held.value[entries]
        # Drawing looks at the order of float16 values only; a power of two keeps it where they are too large or too small for it.
        scale = 2.0 ** (9 - np.frexp(values.max())[1]) if not 2.0**-10 <= values.max() <= 60_000 else 1.0
        drawn = sample(positions, values * scale, self._tiles, plan, seed_for("test", seed), seed_for("explain", seed))
        flat, size = self._tokens.reshape(-1), self._tiles.window
        windows = []
        for first, role, decile, halves in zip(drawn.start, drawn.role, drawn.decile, drawn.activations, strict=True):
            at = int(first)
            windows.append(
                ForeignWindow(
                    flat[at : at + size],
                    halves.astype(np.float64) / scale,
                    role="explain" if role == EXPLAIN else "test",
                    decile=int(decile) if decile >= 0 else None,
                    kind="" if decile >= 0 else "random",
                    position=at,
                    context=at // self._tokens.shape[1],
                )
            )
        return ForeignLatent(
            index,
            tuple({(w.role, w.text): w for w in windows}.values()),
            rate_token=drawn.rate_token,
            rate_context=drawn.rate_context,
            max=drawn.max / scale,
            edges=drawn.edges.astype(np.float64) / scale,
        )

    def strings(self, windows: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
        """Token strings, as the tokenizer decodes each window."""
        return self._strings.of(windows)

    def _part(self, path: Path, tally: Omission) -> _Part:
        """The entries of a file; what is not finite or negative is left out and counted."""
        start, end = _named(path)
        locations, values = _arrays(path, ("locations", "activations"))
        rows, context = self._tokens.shape
        if locations.ndim != 2 or locations.shape[1] != 3 or locations.dtype.kind not in "iu":
            raise DataError(f"{path}: locations are {_shape(locations)}, expected whole numbers [entries, 3].")
        if values.shape != (len(locations),) or values.dtype.kind != "f":
            raise DataError(f"{path}: activations are {_shape(values)}, expected {len(locations)} numbers.")
        row, place, latent = locations.astype(np.int64).T
        for name, found, n in (("row", row, rows), ("position", place, context), ("latent", latent, end - start + 1)):
            if len(found) and not 0 <= found.min() <= found.max() < n:
                raise DataError(f"{path}: a {name} is {int(found.max())}, and there are {n}.")
        values = values.astype(np.float32)
        finite = np.isfinite(values)
        # A latent with a value that is lost may not be silent there, so all of it goes.
        lost = np.unique(latent[~finite])
        if len(lost):
            said = "latents were left out that have an activation beyond float16"
            tally.add(said, f"latent {start + int(lost[0])}", len(lost))
        negative = finite & (values < 0)
        if negative.any():
            tally.add("negative activations count as silence", path.name, int(negative.sum()))
        keep = finite & (values > 0) & ~np.isin(latent, lost)
        latent, position, values = latent[keep], (row * context + place)[keep], values[keep]
        order = np.lexsort((position, latent))
        latent, position, values = latent[order], position[order], values[order]
        if ((np.diff(latent) == 0) & (np.diff(position) == 0)).any():
            raise DataError(f"{path}: a latent has two activations at one place.")
        indptr = np.searchsorted(latent, np.arange(end - start + 2)).astype(np.int64)
        if self._silent_below > 0 and len(values):
            top = np.maximum.reduceat(np.append(values, 0), np.minimum(indptr[:-1], len(values)))
            loud = values > self._silent_below * top[latent]
            latent, position, values = latent[loud], position[loud], values[loud]
            indptr = np.searchsorted(latent, np.arange(end - start + 2)).astype(np.int64)
        return _Part(start, indptr, position, values)


def read_delphi(path: Path, options: ImportOptions) -> ForeignSource:
    """Read a cache.

    Args:
        path: a results folder, its folder `latents`, or the folder of one hookpoint.
        options: what is kept, and what the person knows who imports.

    Raises:
        DataError: no cache, several hookpoints and none chosen, or a damaged file.
        ModelError: the tokenizer is not here.
    """
    folder, hookpoint = _hookpoint(path, options.hookpoint)
    files = sorted((p for p in listed(folder) if NAME.fullmatch(p.name)), key=lambda p: _named(p))
    _disjoint(files)
    config = _config(folder / "config.json")
    where = str(folder / "config.json")
    model = text_of(config, "model_name", where)
    reference = options.tokenizer or model
    if not reference:
        raise DataError(f"{where} names no model; give the subject's tokenizer with --tokenizer.")
    tokenizer = _tokenizer(reference, where)
    fields = ("dataset_repo", "dataset_split", "dataset_name", "dataset_column")
    said = {f: value for f in fields if (value := text_of(config, f, where))}
    context = number_of(config, "cache_ctx_len", where)
    about = About(
        format=FORMAT,
        place=str(path),
        coder=coder_name(hookpoint, FORMAT),
        kind=options.kind,
        hookpoint=hookpoint,
        model=model,
        said=said | ({"cache_ctx_len": f"{context:g}"} if context else {}),
        files=source_files(folder, [*files, *([folder / "config.json"] if config else [])]),
        silence="random",
        unknown=UNKNOWN,
    )
    return DelphiCache(about, files, options, TokenStrings(tokenizer), len(tokenizer))


def _hookpoint(path: Path, wanted: str | None) -> tuple[Path, str]:
    """The folder of the hookpoint to import, and its name."""
    inside = path / "latents"
    base = inside if inside.is_dir() else path
    found = {p.name: p for p in [base, *listed(base)] if any(NAME.fullmatch(f.name) for f in listed(p))}
    if not found:
        raise DataError(
            f"{path} holds no cache of delphi's: no folder latents/<hookpoint> with files <start>_<end>.safetensors."
        )
    if wanted is not None and wanted in found:
        return found[wanted], wanted
    if len(found) == 1:
        ((name, folder),) = found.items()
        return folder, wanted or name
    raise DataError(f"{path} holds several hookpoints; choose one with --hookpoint: {', '.join(sorted(found))}.")


def _named(path: Path) -> tuple[int, int]:
    """First and last latent of a file, by its name."""
    matched = NAME.fullmatch(path.name)
    assert matched is not None
    start, end = int(matched[1]), int(matched[2])
    if not start <= end <= INDEX:
        raise DataError(f"{path}: its name says latents {start} to {end}.")
    return start, end


def _disjoint(files: Sequence[Path]) -> None:
    for one, other in pairwise(files):
        if _named(one)[1] >= _named(other)[0]:
            raise DataError(
                f"{other} has latents that {one.name} has, too; the cache was written twice with other splits."
            )


def _config(path: Path) -> Mapping[str, Any]:
    try:
        found = read_json(path, finite=False)
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as e:
        raise DataError(f"{path} cannot be read as JSON: {e}. Restore it.") from e
    if not isinstance(found, dict):
        raise DataError(f"{path} holds {type(found).__name__}, expected a JSON object.")
    return found


def _tokenizer(reference: str, where: str) -> Any:
    from latentbench.models.language_model import load_tokenizer

    try:
        return load_tokenizer(reference)
    except ModelError as e:
        raise ModelError(
            f"{where}: the cache holds token ids, and {str(e)[:400]} Give a folder with the subject's tokenizer: "
            "--tokenizer FOLDER."
        ) from e


def _arrays(path: Path, names: Sequence[str]) -> list[NDArray[Any]]:
    try:
        if (size := path.stat().st_size) > most(FILE_BYTES):
            raise DataError(f"{path}: {too_large('it', size, most(FILE_BYTES))}.")
        with safe_open(path, framework="np") as f:
            missing = [name for name in names if name not in set(f.keys())]
            if missing:
                raise DataError(f"{path} has no {', '.join(missing)}{_advice(missing)}.")
            return [f.get_tensor(name) for name in names]
    except (SafetensorError, OSError, TypeError, ValueError) as e:
        raise DataError(f"{path} is damaged or no file of a cache ({e}). Restore it.") from e


def _advice(missing: Sequence[str]) -> str:
    return "; cache again with `save_tokens`" if "tokens" in missing else ""


def _tokens(path: Path) -> NDArray[np.int32]:
    """Token ids [rows, context], the same in every file of a cache."""
    (tokens,) = _arrays(path, ("tokens",))
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or not tokens.size:
        raise DataError(f"{path}: tokens are {_shape(tokens)}, expected whole numbers [rows, context].")
    if tokens.size > most(TOKENS) or not 0 <= tokens.min() <= tokens.max() <= INDEX:
        raise DataError(f"{path}: its {tokens.size:,} tokens are too many, or are no token ids.")
    return tokens.astype(np.int32)


def _shape(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
