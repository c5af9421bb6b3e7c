"""Explanations of OpenAI's automated interpretability: a NeuronSimulationResults object a line, in one file or in
`explanations/<layer>/<neuron>.jsonl`.

An object may hold several explanations of a neuron. The first is taken: the best by its own score would be a best of several,
which no other explainer here is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from latentbench.explainers.foreign.found_texts import FoundText
from latentbench.explainers.foreign.json_rows import Row, index_of, json_rows, text_of
from latentbench.kernel.errors import CorruptTable

EXPLANATIONS = "scored_explanations"


def is_openai(row: Row) -> bool:
    """Whether a row is a NeuronSimulationResults object."""
    return EXPLANATIONS in row


def neuron_files(folder: Path) -> list[Path]:
    """The files of a folder that are in folders of layers."""
    place = folder / "explanations" if (folder / "explanations").is_dir() else folder
    return sorted(p for p in place.glob("*/*.jsonl") if p.parent.name.isdecimal() and p.is_file())


def read_openai(paths: list[Path]) -> Iterator[FoundText]:
    """The explanations of files. A neuron's place is the input of the last map of its layer's MLP.

    Raises:
        CorruptTable: a line is no such object; says which.
    """
    for path in paths:
        for place, row in json_rows(path, finite=False):
            neuron, explained = row.get("neuron_id"), row.get(EXPLANATIONS)
            if not isinstance(neuron, Mapping):
                raise CorruptTable(f"{place} has no neuron_id with layer_index and neuron_index.")
            if not isinstance(explained, list) or not all(isinstance(e, Mapping) for e in explained):
                raise CorruptTable(f"{place}: {EXPLANATIONS} is no list of objects.")
            layer, index = (index_of(neuron, name, place) for name in ("layer_index", "neuron_index"))
            texts = [text_of(e, "explanation", place) for e in explained] or [None]
            # What was made later of one neuron sorts before what was made first, so the first is taken.
            for number, text in enumerate(texts):
                made = "first" if number == 0 else ""
                yield FoundText(f"blocks.{layer}.mlp.hook_post/{index}", text, place, made=made)
