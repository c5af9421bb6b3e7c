"""Is this coder what its file says? Subject, L0 and FVU are compared with what is recorded, the numbers on a few short texts.

A coder for another layer of the same width loads without any error and produces latents; only its reconstruction shows that
it does not belong there. The texts are a few hundred words, far too little to measure quality, so two standards apply: where
the folder records what these very texts gave (`check_fvu`, `check_l0`, as this project's evaluation does) the numbers have to
agree closely; where it records only figures of a corpus, just what no text could explain is reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from latentbench.kernel.config import Frozen, read_yaml, validate
from latentbench.kernel.errors import CoderError
from latentbench.kernel.tasks import find
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.prepared_input import PreparedInput
from latentbench.subject.coders.processing import processing_remarks
from latentbench.subject.coders.provenance import UNFOLDED, Provenance
from latentbench.subject.coders.quality import Quality, fvu
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.coders.start_token import started
from latentbench.subject.coders.subject_name import match
from latentbench.subject.hooks import capture

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec

CLOSE = 0.05
"""Relative deviation allowed against numbers of the same texts: room for another dtype or device."""


UNFOLDED_SHARE = 0.7
"""A coder is taken for one whose factor was never folded where scaling its input leaves less than this share of its FVU."""
FITS = 0.1
"""A coder that leaves less than this share of the variance is on the right scale."""
HINT = "Is it the right subject, dtype and hookpoint?"


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


def said_problems(spec: CoderSpec, coder: SparseCoder, said: Provenance, loaded: Loaded) -> list[str]:
    """Where the subject is not what a coder's folder says, one sentence each; nothing is measured.

    Args:
        spec: as the user wrote it.
        coder: as `processing.as_trained` gave it.
        said: what is known of its training.
        loaded: the subject.
    """
    found = processing_remarks(spec, said, loaded)
    matched = match(said.model, loaded) if said.model is not None else "same"
    if matched == "other":
        found.append(
            f"coder {coder.name!r} was trained on {said.model!r} ({said.source}), and the subject is "
            f"{loaded.files.reference!r}, another model."
        )
    elif matched == "unknown":
        # Not a word of the coder, so that a recipe with twenty of them says it once.
        found.append(
            f"a coder of {said.model!r} on {loaded.files.reference!r}: whether this is that model cannot be told from "
            "the folder's name and configuration."
        )
    return found


def coder_problems(spec: CoderSpec, coder: SparseCoder, said: Provenance, loaded: Loaded) -> list[str]:
    """What is off between a coder, what its folder says and the subject, one sentence each; arguments as in `said_problems`.

    Raises:
        CoderError: its weights lack the factor that SAELens folds into them (`expected_average_only_in`), and nobody
            said `as_is`.
    """
    found = said_problems(spec, coder, said, loaded)
    if coder.kind not in ("sae", "transcoder"):
        return found
    reads = started(loaded, "auto", {coder.name: said})
    report = check(coder, reads, recorded={**said.recorded, **coder.evals})
    found += report.problems
    place = f"coder {coder.name!r} at {coder.hookpoint} of {loaded.files.reference}"
    recorded = {key.removeprefix("check_") for key in report.expected}
    if "l0" not in recorded and report.l0 == 0:
        found.append(f"{place}: no latent is active on any of {report.tokens} tokens. {HINT}")
    if "fvu" not in recorded and report.fvu is not None and report.fvu > 1:
        found.append(
            f"{place}: FVU is {report.fvu:.3g} on {report.tokens} tokens, worse than that of the "
            f"mean activation, which is 1. {HINT}"
        )
    if factor := unfolded_problem(spec, coder, said, reads, report):
        raise CoderError(factor)
    return found


def unfolded_problem(
    spec: CoderSpec, coder: SparseCoder, said: Provenance, loaded: Loaded, report: CheckReport | None = None
) -> str | None:
    """What shows that the factor of `expected_average_only_in` is not in a coder's weights; None where nothing does.

    Args:
        spec, coder, said: as in `said_problems`.
        loaded: the subject, with or without a start token as in training.
        report: of `check`, where there is one.
    """
    applied = isinstance(coder, PreparedInput) and coder.factor != 1
    if not said.unfolded or spec.as_is or applied:
        return None
    report = report or check(coder, loaded)
    if report.fvu is None or report.fvu <= FITS:
        return None
    scaled = _scaled_fvu(coder, loaded)
    if scaled >= UNFOLDED_SHARE * report.fvu:
        return None
    return (
        f"{said.source}: normalize_activations is {UNFOLDED}, and its factor is not in the weights: FVU is "
        f"{report.fvu:.3g} as they are, and {scaled:.3g} on activations scaled to the norm sqrt({coder.d_in}). Fold "
        "the factor in with SAELens (`fold_activation_norm_scaling_factor`), or give the coder `as_is: true`."
    )


@torch.inference_mode()
def _scaled_fvu(coder: SparseCoder, loaded: Loaded) -> float:
    """FVU of a coder whose input is scaled by one number to a mean norm of sqrt(d_in), on the check texts."""
    acts = _activations(coder, loaded, check_texts()).float()
    factor = coder.d_in**0.5 / float(acts.norm(dim=-1).mean())
    scaled = PreparedInput(coder, factor=factor)
    return fvu(acts, scaled.decode(scaled.encode(acts), acts))


def _activations(coder: SparseCoder, loaded: Loaded, texts: Sequence[str]) -> Tensor:
    """Activations [n, d_in] of every token but BOS; of a text that is longer than the subject reads, those of its beginning."""
    head = [] if loaded.bos is None else [loaded.bos]
    read = [loaded.tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    # A text with more tokens than the subject has positions is read in pieces.
    room = (loaded.context or 1 << 30) - len(head)
    rows = [[*head, *ids[at : at + room]] for ids in read for at in range(0, len(ids), room)]
    width = max(len(row) for row in rows)
    # One pass, padded on the right with anything: no real token sees what stands to its right.
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    real = torch.tensor([[len(head) <= i < len(row) for i in range(width)] for row in rows])
    return capture(loaded, ids, None, [coder.hookpoint])[coder.hookpoint][real.to(loaded.device)]


@torch.inference_mode()
def check(
    coder: SparseCoder, loaded: Loaded, texts: Sequence[str] | None = None, recorded: Mapping[str, float] | None = None
) -> CheckReport:
    """Measure a coder on short texts and compare with what its folder records.

    Args:
        coder: fits the subject.
        loaded: the subject.
        texts: other texts than the standard ones; recorded `check_*` numbers are then left aside.
        recorded: numbers to compare with; those of the coder by default.
    """
    evals = coder.evals if recorded is None else recorded
    quality = Quality(coder.d_in, coder.n_latents)
    reconstructs = coder.kind in ("sae", "random")
    acts = _activations(coder, loaded, texts or check_texts())
    found = coder.encode(acts)
    quality.add(acts, found, coder.decode(found, acts) if reconstructs else None)
    unexplained = quality.fvu if reconstructs else None
    same_texts = texts is None
    problems = _compare("L0", quality.l0, evals, "l0", same_texts)
    if unexplained is not None:
        problems += _compare("FVU", unexplained, evals, "fvu", same_texts)
    expected = {k: v for k, v in evals.items() if k.removeprefix("check_") in ("l0", "fvu")}
    named = tuple(f"coder {coder.name!r} at {coder.hookpoint} of {loaded.files.reference}: {p}" for p in problems)
    return CheckReport(coder.name, quality.rows, quality.l0, unexplained, expected, named)


def _compare(label: str, measured: float, evals: Mapping[str, float], key: str, same_texts: bool) -> list[str]:
    tight, loose = evals.get(f"check_{key}"), evals.get(key)
    if same_texts and tight is not None:
        if abs(measured - tight) > CLOSE * tight:
            return [f"{label} is {measured:.3g} on the check texts, recorded is {tight:.3g}. {HINT}"]
        return []
    if loose is None:
        return []
    if label == "FVU":
        if measured > min(1.0, 3 * loose + 0.1):
            return [f"FVU is {measured:.3g} on a few short texts, recorded on a corpus is {loose:.3g}. {HINT}"]
        return []
    if not loose / 2 <= measured <= 2 * loose:
        return [f"L0 is {measured:.3g} on a few short texts, recorded on a corpus is {loose:.3g}. {HINT}"]
    return []
