"""Neuronpedia's export of one source: windows of `activations/`, what `features/` and `source.jsonl` say beside them.

    <modelId>/<sourceId>/activations/batch-N.jsonl.gz    tokens and values, one window a line
                         features/batch-N.jsonl.gz       rate, largest activation, promoted and suppressed tokens
                         source.jsonl                    dataset, SAE of origin

Only `index`, `tokens` and `values` are needed; what else is missing is unknown, and fields that are not named here are passed
over. An export holds the strongest windows of a latent and some of each bin of strength. None of its windows was drawn at
random from text, so it has no random negatives; windows whose values are all 0 are silent ones that somebody chose in a way
that the export does not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latentbench.kernel.errors import DataError
from latentbench.kernel.inputs import parse_json
from latentbench.suites.imported.foreign_files import (
    JSONL,
    jsonl_files,
    number_of,
    rows,
    source_files,
    text_of,
    texts_of,
)
from latentbench.suites.imported.foreign_latent import About, ForeignSource
from latentbench.suites.imported.held_windows import Collected, Cutting, Known, whole_index
from latentbench.suites.imported.import_options import ImportOptions, coder_name

FORMAT = "neuronpedia"
UNKNOWN = {
    "subject": "no subject was run and none can be: interventions and `subject:` judges refuse the suite",
    "deciles": "a decile is among the windows of the export, which are no fair sample of all that the latent does",
}
RATES = "the export says no frac_nonzero for every latent, so latents are not drawn by firing rate"
CONTEXTS = "on how many texts a latent fires is not in the export"
PROMOTED = "the export has no pos_str for some latents, so explainers of promoted tokens have nothing to say of them"


@dataclass
class _Origin:
    """Which model and source the rows are of; one of each is allowed."""

    model: str | None = None
    source: str | None = None
    seen: dict[str, str] = field(default_factory=dict)

    def check(self, row: Mapping[str, Any], where: str) -> None:
        for name in ("modelId", "layer"):
            value = text_of(row, name, where)
            if value is None:
                continue
            if self.seen.setdefault(name, value) != value:
                raise DataError(
                    f"{where}: {name} is {ascii(value)[:80]}, and {ascii(self.seen[name])[:80]} before; import one source at a "
                    "time (its folder, or its batch)."
                )
        self.model, self.source = self.seen.get("modelId"), self.seen.get("layer")


def read_neuronpedia(path: Path, options: ImportOptions) -> ForeignSource:
    """Read an export.

    Args:
        path: folder of the source, its folder `activations`, or one batch.
        options: what is kept, and what the person knows who imports.

    Raises:
        DataError: no batch of activations, or a row that is none.
    """
    root, batches = _batches(path)
    origin, collected = _Origin(), Collected(options.wanted)
    for where, row in rows(batches):
        origin.check(row, where)
        index = whole_index(row.get("index"), where)
        if collected.wants(index):
            collected.add(index, row.get("tokens"), row.get("values"), where, bin=_bin(row, where))
    more = [p for name in ("features", "source") for p in _beside(root, name)]
    known, hook = _features(_beside(root, "features"), collected)
    said, hooked, width = _source(_beside(root, "source"), origin.source)
    unknown = dict(UNKNOWN)
    if not known or any(k.rate_token is None for k in known.values()) or not collected.latents <= set(known):
        unknown["rates"] = RATES
    else:
        unknown["contexts"] = CONTEXTS
    if not all(index in known and known[index].promoted for index in collected.latents):
        unknown["promoted"] = PROMOTED
    about = About(
        format=FORMAT,
        place=str(path),
        coder=coder_name(origin.source, FORMAT),
        kind=options.kind,
        hookpoint=options.hookpoint or hooked or hook or "",
        model=origin.model,
        said={**({"source": origin.source} if origin.source else {}), **said},
        files=source_files(root, [*batches, *more]),
        silence="given",
        unknown=unknown,
        n_latents=width,
    )
    return collected.source(about, Cutting(options.window, options.silent_below), known)


def _batches(path: Path) -> tuple[Path, list[Path]]:
    """Folder of the source, and its batches of activations."""
    if path.is_file():
        inside = path.parent.name == "activations"
        return (path.parent.parent if inside else path.parent), [path]
    for folder, root in ((path / "activations", path), (path, path.parent)):
        if (folder == path) != (path.name == "activations"):
            continue
        if found := jsonl_files(folder):
            return root, found
    if (path.name != "activations") and not (path / "activations").is_dir():
        raise DataError(
            f"{path} has no folder `activations`. Give the folder of one source (<modelId>/<sourceId>), or one batch of it."
        )
    raise DataError(f"{path} holds no batches of activations ({' or '.join('*' + s for s in JSONL)}).")


def _beside(root: Path, name: str) -> list[Path]:
    """Files of another sort in the folder of the source: `name/*.jsonl.gz`, or `name.jsonl`."""
    return [*jsonl_files(root / name), *(p for s in JSONL if (p := root / f"{name}{s}").is_file())]


def _bin(row: Mapping[str, Any], where: str) -> float | None:
    """Lower end of the bin of strength that a window stands for; None for those of no bin, which have none or -1 there."""
    names = ("binMin", "binMax"), ("quantileMin", "quantileMax")
    for low, high in names:
        ends = number_of(row, low, where), number_of(row, high, where)
        if ends[0] is not None and (ends[1] is None or ends[1] >= 0) and ends[0] >= 0:
            return ends[0]
    return None


def _features(paths: list[Path], collected: Collected) -> tuple[dict[int, Known], str | None]:
    """What is known of each latent that has windows, and where the coder reads."""
    found: dict[int, Known] = {}
    hook: str | None = None
    for where, row in rows(paths):
        index = whole_index(row.get("index"), where)
        if index not in collected.latents:
            continue
        hook = hook or text_of(row, "hookName", where)
        rate, top = number_of(row, "frac_nonzero", where), number_of(row, "maxActApprox", where)
        if rate is not None and not 0 <= rate <= 1:
            raise DataError(f"{where}: frac_nonzero is {rate}, expected a share from 0 to 1.")
        found[index] = Known(
            rate, texts_of(row, "pos_str", where), texts_of(row, "neg_str", where), top if top and top > 0 else None
        )
    return found, hook


def _source(paths: list[Path], name: str | None) -> tuple[dict[str, str], str | None, int | None]:
    """What `source.jsonl` says of the source: its texts for the manifest, the hook, and the width."""
    for where, row in rows(paths):
        if name is not None and row.get("id") not in (None, name):
            continue
        fields = ("dataset", "saelensRelease", "saelensSaeId", "hfRepoId", "hfFolderId")
        said = {f: value for f in fields if (value := text_of(row, f, where))}
        config = _config(text_of(row, "saelensConfig", where), where)
        return said, _hook(config), _width(config)
    return {}, None, None


def _config(text: str | None, where: str) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        found = parse_json(text, finite=False)
    except ValueError as e:
        raise DataError(f"{where}: saelensConfig is no JSON: {e}.") from e
    return found if isinstance(found, dict) else {}


def _configs(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The configuration and its metadata, where newer versions keep the hook."""
    yield config
    if isinstance(config.get("metadata"), dict):
        yield config["metadata"]


def _hook(config: Mapping[str, Any]) -> str | None:
    return next((c["hook_name"] for c in _configs(config) if isinstance(c.get("hook_name"), str)), None)


def _width(config: Mapping[str, Any]) -> int | None:
    width = config.get("d_sae")
    return width if isinstance(width, int) and not isinstance(width, bool) and width > 0 else None
