"""What a reader of another tool's explanations finds, and which of several texts of one latent is taken.

A file may hold explanations of several methods. They are not mixed: all texts that are taken are of one method, that which has
most latents, and of one method's texts for a latent the one that was made last. Taking for each latent whatever stands first is
the tempting way, and compares nothing. How many were set aside is said, and `where` chooses otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from latentbench.kernel.errors import DataError


@dataclass(frozen=True, slots=True)
class FoundText:
    """One explanation as it lies in a file.

    Attributes:
        id: of the latent, as `latentbench.kernel.foreign_ids.parse_id` reads it.
        text: None where the file has none.
        where: file and line.
        method: what made it, by field; empty where the file does not say.
        made: when, as a text that sorts; "" where the file does not say.
    """

    id: str
    text: str | None
    where: str
    method: tuple[tuple[str, str], ...] = ()
    made: str = ""


@dataclass(frozen=True)
class FoundTexts:
    """The explanations of a file.

    Attributes:
        layout: whose file it is.
        texts: id of the latent, as it is written -> text.
        method: what made them, by field; empty where the file does not say.
        aside: rows that were set aside, for another method or an older text.
    """

    layout: str
    texts: Mapping[str, str | None] = field(repr=False)
    method: Mapping[str, str] = field(default_factory=dict)
    aside: int = 0


def one_method(path: Path, layout: str, found: Iterable[FoundText]) -> FoundTexts:
    """The texts of the method that has most latents, the last made of each latent; of equally many the first by name.

    Raises:
        DataError: there is none.
    """
    rows = list(found)
    if not rows:
        raise DataError(f"{path} holds no explanation that was asked for.")
    latents = Counter(method for method, _ in {(row.method, row.id) for row in rows})
    method = min(latents, key=lambda m: (-latents[m], m))
    taken: dict[str, FoundText] = {}
    for row in rows:
        if row.method == method and (row.id not in taken or row.made >= taken[row.id].made):
            taken[row.id] = row
    texts = {name: row.text for name, row in taken.items()}
    return FoundTexts(layout, texts, dict(method), len(rows) - len(taken))


def one_text(path: Path, layout: str, found: Iterable[FoundText]) -> FoundTexts:
    """The texts of a file whose latents have one each.

    Raises:
        DataError: there is none, or a latent has two that differ; says where.
    """
    texts: dict[str, str | None] = {}
    for row in found:
        if texts.setdefault(row.id, row.text) != row.text:
            raise DataError(
                f"{row.where}: a second text for {row.id}. Choose rows by other columns, such as "
                "params: {where: {explainer: llm, repeat: 0}}."
            )
    if not texts:
        raise DataError(f"{path} holds no explanation that was asked for.")
    return FoundTexts(layout, texts)
