"""Quality of trained coders on text that training never saw, and the model cards.

Loss recovered is (CE_ablated - CE_spliced) / (CE_ablated - CE_clean): the share of the next-token cross-entropy lost by
ablating the hookpoint that the coder's reconstruction gives back. Both usual ablations are reported, zeros and the mean
activation, because they are not the same number: zeros take the subject far outside anything it has seen, which flatters
every coder, and a paper that reports only one of them cannot be compared with one that reports the other.

BOS keeps its own activation in every condition. Coders are trained without it (it is an attention sink with an activation of
its own kind), so replacing it would measure that, and not the coder.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentbench.corpora.corpus_files import content_sha256
from latentbench.kernel.errors import CoderError
from latentbench.kernel.files import write_json, write_text
from latentbench.lab.coders import feed
from latentbench.lab.coders.coder_card import card
from latentbench.models.language_model import Loaded, load
from latentbench.subject.coders.coder_check import check
from latentbench.subject.coders.coder_spec import CoderSpec, load_coder
from latentbench.subject.coders.folder import EVALS, read_config
from latentbench.subject.coders.quality import Quality
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.hooks import edit
from latentbench.views import terminal

Say = Callable[[str], None]

BATCH = 8
"""Contexts per forward pass: the logits of the whole vocabulary are the largest tensor here."""


def evaluate_folders(
    folders: Sequence[Path],
    corpus: Path,
    tokens: int = 131072,
    loss_tokens: int = 16384,
    device: str = "auto",
    command: str = "bench coder evaluate",
    say: Say = terminal.say,
) -> dict[str, dict[str, Any]]:
    """Evaluate coders of one training run on the held-out end of its corpus; write `eval.json` and `README.md` beside each.

    Args:
        folders: as `latentbench.lab.coders.coder_training` leaves them; they record subject, context length and held-out share.
        corpus: the same text as in training.
        tokens: sample for FVU, L0 and dead latents, in whole contexts; less if the held-out part is shorter.
        loss_tokens: first part of the sample, for loss recovered (every condition runs the whole subject).
        device: of the subject and the coders.
        command: what the user typed, for the card.
        say: takes progress lines.

    Returns:
        coder name -> what `eval.json` holds.

    Raises:
        CoderError: a folder without these facts, folders of different runs, or a coder trained on other text.
        DataError, EmptyCorpus, ModelError: from the parts.
    """
    facts = [_facts(folder) for folder in folders]
    if not facts or any(fact != facts[0] for fact in facts):
        raise CoderError("evaluate coders of one training run at a time: same subject, dtype, contexts and corpus.")
    subject, dtype, context, share, sha = facts[0]
    found = content_sha256(corpus)
    if found != sha:
        raise CoderError(
            f"{corpus} is not the text of the training run (sha256 {found[:16]}, recorded is {sha[:16]}), "
            "so its last documents may have been trained on. Give the same text."
        )
    loaded = load(subject, dtype, device)
    coders = [
        load_coder(CoderSpec(name=f.name, format="saelens", path=str(f.resolve())), loaded, verify=False)
        for f in folders
    ]
    _, held_out = feed.split(feed.read_documents(corpus), share)
    rows = torch.stack(list(islice(feed.token_rows(loaded, held_out, context), -(-tokens // context))))
    qualities = reconstruction(loaded, coders, list(feed.batched(rows, BATCH)), say)
    few = rows[: -(-loss_tokens // context)]
    losses = loss_recovered(loaded, coders, few, {c.hookpoint: qualities[c.name].mean for c in coders}, BATCH, say)
    results: dict[str, dict[str, Any]] = {}
    for folder, coder in zip(folders, coders, strict=True):
        quality, checked = qualities[coder.name], check(coder, loaded)
        results[coder.name] = {
            "fvu": quality.fvu,
            "l0": quality.l0,
            "dead": quality.dead,
            **losses[coder.name],
            "check_fvu": checked.fvu,
            "check_l0": checked.l0,
            "key": coder.key,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "command": command,
            "subject": loaded.identity,
            "held_out_documents": len(held_out),
            "tokens": quality.rows,
            "loss_tokens": few.shape[0] * context,
        }
        _write(folder, results[coder.name])
        say(
            f"{coder.name}: "
            + ", ".join(f"{k} {v:.4f}" for k, v in results[coder.name].items() if isinstance(v, float))
        )
    return results


def _facts(folder: Path) -> tuple[str, Any, int, float, str]:
    """(subject, dtype, context, held-out share, sha256 of the text) of a training run."""
    config = read_config(folder, ("metadata",))
    keys = ("model_name", "subject_dtype", "context_size", "held_out", "corpus_sha256")
    missing = [key for key in keys if key not in config["metadata"]]
    if missing:
        raise CoderError(
            f"{folder} does not record {', '.join(missing)}; only coders trained by this project are evaluated."
        )
    subject, dtype, context, share, sha = (config["metadata"][key] for key in keys)
    return str(subject), dtype, int(context), float(share), str(sha)


def _write(folder: Path, evals: dict[str, Any]) -> None:
    write_json(folder / EVALS, evals, indent=1, sort_keys=True)
    write_text(folder / "README.md", card(folder.name, read_config(folder), evals))


@torch.inference_mode()
def reconstruction(
    loaded: Loaded, coders: Sequence[SparseCoder], batches: Sequence[Tensor], say: Say = terminal.say
) -> dict[str, Quality]:
    """FVU, L0 and dead latents of several coders in one pass.

    Args:
        loaded: the subject.
        coders: any that can reconstruct.
        batches: token ids [contexts, tokens], BOS first if the subject has one.
        say: takes progress lines.

    Returns:
        coder name -> sums over the sample.
    """
    found = {c.name: Quality(c.d_in, c.n_latents) for c in coders}
    hookpoints = list(dict.fromkeys(c.hookpoint for c in coders))
    for i, acts in enumerate(feed.activations(loaded, batches, hookpoints)):
        for coder in coders:
            x = acts[coder.hookpoint]
            latents = coder.encode(x)
            found[coder.name].add(x, latents, coder.decode(latents, x))
        if i % 16 == 15:
            say(f"reconstruction: {found[coders[0].name].rows:,} tokens")
    return found


def loss_recovered(
    loaded: Loaded,
    coders: Sequence[SparseCoder],
    rows: Tensor,
    means: dict[str, Tensor],
    batch: int,
    say: Say = terminal.say,
) -> dict[str, dict[str, float]]:
    """Cross-entropy with each coder spliced in, and the shares recovered.

    Args:
        loaded: the subject.
        coders: reconstructing what they read; a transcoder is refused.
        rows: token ids [contexts, tokens].
        means: hookpoint -> mean activation [d].
        batch: contexts per forward pass.
        say: takes progress lines.

    Returns:
        coder name -> `ce_clean`, `ce_spliced`, `ce_zero`, `ce_mean` (nats per token), `recovered_zero`, `recovered_mean`.

    Raises:
        CoderError: a coder that writes elsewhere than it reads.
    """
    skip = 0 if loaded.bos is None else 1

    def loss(hookpoint: str, change: Callable[[Tensor], Tensor]) -> float:
        def but_bos(x: Tensor) -> Tensor:
            replaced = x.clone()
            replaced[:, skip:] = change(x[:, skip:].reshape(-1, x.shape[-1])).reshape(x[:, skip:].shape).to(x.dtype)
            return replaced

        with edit(loaded, hookpoint, but_bos):
            return cross_entropy(loaded, rows, batch)

    clean = cross_entropy(loaded, rows, batch)
    ablated: dict[str, tuple[float, float]] = {}
    out: dict[str, dict[str, float]] = {}
    for coder in coders:
        if coder.kind not in ("sae", "random"):
            raise CoderError(
                f"{coder.name!r} is a coder of kind {coder.kind}; only one that reconstructs its input is spliced."
            )
        where = coder.hookpoint
        if where not in ablated:
            mean = means[where].to(loaded.device)
            ablated[where] = (loss(where, torch.zeros_like), loss(where, lambda x, m=mean: m.expand_as(x)))  # type: ignore[misc]
        zero, average = ablated[where]
        spliced = loss(where, lambda x, c=coder: c.decode(c.encode(x), x))  # type: ignore[misc]
        out[coder.name] = {
            "ce_clean": clean,
            "ce_spliced": spliced,
            "ce_zero": zero,
            "ce_mean": average,
            "recovered_zero": (zero - spliced) / (zero - clean),
            "recovered_mean": (average - spliced) / (average - clean),
        }
        say(f"loss: {coder.name} clean {clean:.3f} spliced {spliced:.3f} zero {zero:.3f} mean {average:.3f}")
    return out


@torch.inference_mode()
def cross_entropy(loaded: Loaded, rows: Tensor, batch: int) -> float:
    """Mean next-token cross-entropy in nats over rows [contexts, tokens] of token ids, BOS as context only."""
    total = 0.0
    for ids in feed.batched(rows, batch):
        ids = ids.to(loaded.device)
        logits = loaded.model(ids, use_cache=False).logits[:, :-1].float()
        total += float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum"))
    return total / (rows.shape[0] * (rows.shape[1] - 1))
