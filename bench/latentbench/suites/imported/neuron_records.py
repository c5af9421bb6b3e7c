"""OpenAI's NeuronRecords: `collated-activations/<layer>/<neuron>.json`, one neuron a file.

The sides are those of their own code, which interleaves four splits over the strongest records: every fourth one, from the
first, is what an explanation is made of (train) and is an explain window here; the others (calibration, valid, test) are test
windows. Records of the random sample, whole and by quantile, are test windows: there they have no train split.

Their neurons have a smooth activation function and are hardly ever silent on a whole record, so most files have no silent
window until `--silent-below` says what counts as silence. Statistics may be NaN, which strict JSON has not; `dataclass_name`
may be missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentbench.kernel.errors import DataError
from latentbench.kernel.inputs import read_json
from latentbench.suites.imported.foreign_files import listed, numbered, source_files
from latentbench.suites.imported.foreign_latent import About, ForeignSource, Role
from latentbench.suites.imported.held_windows import Collected, Cutting, whole_index
from latentbench.suites.imported.import_options import ImportOptions

FORMAT = "openai"
SPLITS = 4
"""Interleaved splits of the strongest records, the first of which is `train`."""
RULE = "every fourth of the strongest records, from the first, is explained (train); the others and the random sample are tested"
UNKNOWN = {
    "subject": "no subject was run and none can be: interventions and `subject:` judges refuse the suite",
    "rates": "on how many tokens a neuron fires is not in the records",
    "promoted": "which tokens a neuron writes for is not in the records",
    "deciles": "a decile is among the records of the file, of which the strongest ones were chosen",
}


def read_neuron_records(path: Path, options: ImportOptions) -> ForeignSource:
    """Read the records of one layer.

    Args:
        path: a file of one neuron, the folder of a layer, or the folder above it if that has one layer.
        options: what is kept, and what the person knows who imports.

    Raises:
        DataError: no such file, or one that is none.
    """
    root, files = _files(path)
    collected = Collected(options.wanted)
    layers: set[int] = set()
    read: list[Path] = []
    for file in files:
        if options.wanted is not None and file.stem.isdigit() and int(file.stem) not in options.wanted:
            continue
        record = _record(file)
        layer, neuron = _place(record, file)
        layers.add(layer)
        if len(layers) > 1:
            raise DataError(
                f"{file}: its layer is {layer}, and that of others {min(layers - {layer})}; import one layer."
            )
        read.append(file)
        for where, row, role in _windows(record, file):
            collected.add(neuron, row.get("tokens"), row.get("activations"), where, role=role)
    if not read:
        raise DataError(f"{path}: no file of the neurons that were asked for (--index).")
    (layer,) = layers
    about = About(
        format=FORMAT,
        place=str(path),
        coder=f"mlp{layer}",
        kind=options.kind or "neurons",
        hookpoint=options.hookpoint or "",
        model=None,
        said={"layer": str(layer), "split": RULE},
        files=source_files(root, read),
        silence="random",
        unknown=UNKNOWN,
    )
    return collected.source(about, Cutting(options.window, options.silent_below))


def _files(path: Path) -> tuple[Path, list[Path]]:
    if path.is_file():
        return path.parent, [path]
    found = sorted((p for p in listed(path) if p.suffix == ".json"), key=numbered)
    if found:
        return path, found
    inside = path / "collated-activations"
    folders = [p for p in listed(inside if inside.is_dir() else path) if p.is_dir() and any(p.glob("*.json"))]
    if len(folders) > 1:
        names = ", ".join(p.name for p in sorted(folders, key=numbered)[:10])
        raise DataError(f"{path} holds several layers ({names}); give the folder of one.")
    if not folders:
        raise DataError(f"{path} holds no files <neuron>.json of NeuronRecords.")
    return folders[0], sorted(folders[0].glob("*.json"), key=numbered)


def _record(file: Path) -> Mapping[str, Any]:
    try:
        found = read_json(file, finite=False)
    except ValueError as e:
        raise DataError(f"{file} is not a NeuronRecord: {e}. Fetch it again, or remove it.") from e
    except OSError as e:
        raise DataError(f"{file} cannot be read: {e.strerror or e}.") from e
    if not isinstance(found, dict):
        raise DataError(f"{file} holds {type(found).__name__}, expected the object of a NeuronRecord.")
    return found


def _place(record: Mapping[str, Any], file: Path) -> tuple[int, int]:
    """Layer and number of the neuron; the file's own name and folder where the record does not say."""
    said = record.get("neuron_id")
    if said is None:
        return whole_index(file.parent.name, f"{file}: its folder"), whole_index(file.stem, f"{file}: its name")
    if not isinstance(said, dict):
        raise DataError(f"{file}: neuron_id is {type(said).__name__}, expected layer_index and neuron_index.")
    return (
        whole_index(said.get("layer_index"), f"{file}: layer_index"),
        whole_index(said.get("neuron_index"), f"{file}: neuron_index"),
    )


def _windows(record: Mapping[str, Any], file: Path) -> Iterator[tuple[str, Mapping[str, Any], Role]]:
    """Records with their place and side."""
    for i, (where, row) in enumerate(_rows(record.get("most_positive_activation_records"), f"{file}: strongest")):
        yield where, row, "explain" if i % SPLITS == 0 else "test"
    for where, row in _rows(record.get("random_sample"), f"{file}: random_sample"):
        yield where, row, "test"
    groups = record.get("random_sample_by_quantile")
    if groups is not None and not isinstance(groups, list):
        raise DataError(f"{file}: random_sample_by_quantile is {type(groups).__name__}, expected a list of lists.")
    for number, group in enumerate(groups or []):
        for where, row in _rows(group, f"{file}: random_sample_by_quantile[{number}]"):
            yield where, row, "test"


def _rows(value: object, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if value is None:
        return
    if not isinstance(value, list):
        raise DataError(f"{where}: is {type(value).__name__}, expected a list of records.")
    for i, row in enumerate(value):
        if not isinstance(row, dict):
            raise DataError(f"{where}[{i}]: is {type(row).__name__}, expected a record with tokens and activations.")
        yield f"{where}[{i}]", row
