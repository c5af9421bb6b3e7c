"""Is this coder what its file says? L0 and FVU are measured on a few short texts and compared with the recorded ones.

A coder for another layer of the same width loads without any error and produces latents; only its reconstruction shows that
it does not belong there. The texts are a few hundred words, far too little to measure quality, so two standards apply: where
the folder records what these very texts gave (`check_fvu`, `check_l0`, as this project's evaluation does) the numbers have to
agree closely; where it records only figures of a corpus, just what no text could explain is reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field

from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.tasks import find
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.quality import Quality
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.hooks import capture

CLOSE = 0.05
"""Relative deviation allowed against numbers of the same texts: room for another dtype or device."""


class CoderWarning(UserWarning):
    """A coder that loads, but does not do what its file says."""


class _Texts(Frozen):
    texts: list[str] = Field(min_length=1)


@dataclass(frozen=True)
class CheckReport:
    """Outcome of a check.

    Attributes:
        coder: name.
        tokens: measured on; BOS is not among them.
        l0: active latents per token.
        fvu: fraction of variance unexplained; None for a coder that does not reconstruct its input.
        expected: what is recorded.
        problems: one sentence for each number that is off.
    """

    coder: str
    tokens: int
    l0: float
    fvu: float | None
    expected: dict[str, float]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Nothing is off; also true when nothing is recorded."""
        return not self.problems


def check_texts() -> list[str]:
    """The texts of `tasks/coders/check.yaml`."""
    path = find("coders", "check")
    return validate(_Texts, read_yaml(path), str(path)).texts


@torch.inference_mode()
def check(coder: SparseCoder, loaded: Loaded, texts: Sequence[str] | None = None) -> CheckReport:
    """Measure a coder on short texts and compare with what its folder records.

    Args:
        coder: fits the subject.
        loaded: the subject.
        texts: other texts than the standard ones; recorded `check_*` numbers are then left aside.
    """
    quality = Quality(coder.d_in, coder.n_latents)
    reconstructs = coder.kind in ("sae", "random")
    head = [] if loaded.bos is None else [loaded.bos]
    rows = [[*head, *loaded.tokenizer(t, add_special_tokens=False)["input_ids"]] for t in texts or check_texts()]
    width = max(len(row) for row in rows)
    # One pass, padded on the right with anything: no real token sees what stands to its right.
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    real = torch.tensor([[len(head) <= i < len(row) for i in range(width)] for row in rows])
    acts = capture(loaded, ids, None, [coder.hookpoint])[coder.hookpoint][real.to(loaded.device)]
    found = coder.encode(acts)
    quality.add(acts, found, coder.decode(found, acts) if reconstructs else None)
    fvu = quality.fvu if reconstructs else None
    same_texts = texts is None
    problems = _compare("L0", quality.l0, coder.evals, "l0", same_texts)
    if fvu is not None:
        problems += _compare("FVU", fvu, coder.evals, "fvu", same_texts)
    expected = {k: v for k, v in coder.evals.items() if k.removeprefix("check_") in ("l0", "fvu")}
    named = tuple(f"coder {coder.name!r} at {coder.hookpoint} of {loaded.files.reference}: {p}" for p in problems)
    return CheckReport(coder.name, quality.rows, quality.l0, fvu, expected, named)


def _compare(label: str, measured: float, evals: Mapping[str, float], key: str, same_texts: bool) -> list[str]:
    tight, loose = evals.get(f"check_{key}"), evals.get(key)
    hint = "Is it the right subject, dtype and hookpoint?"
    if same_texts and tight is not None:
        if abs(measured - tight) > CLOSE * tight:
            return [f"{label} is {measured:.3g} on the check texts, recorded is {tight:.3g}. {hint}"]
        return []
    if loose is None:
        return []
    if label == "FVU":
        if measured > min(1.0, 3 * loose + 0.1):
            return [f"FVU is {measured:.3g} on a few short texts, recorded on a corpus is {loose:.3g}. {hint}"]
        return []
    if not loose / 2 <= measured <= 2 * loose:
        return [f"L0 is {measured:.3g} on a few short texts, recorded on a corpus is {loose:.3g}. {hint}"]
    return []
