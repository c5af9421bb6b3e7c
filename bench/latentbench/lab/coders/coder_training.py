"""Train the coders of a recipe with sae-lens, all of them in one pass of the subject.

The trainer is somebody else's, well kept and tested; this module feeds it and decides three things.

Inputs are centred and scaled to unit mean square before training, and the transformation is folded into the saved weights, so
a shipped coder takes raw activations and its latents are in the subject's own units. sae-lens can scale (but not centre); in
SmolLM2 the mean is most of an MLP output's norm, and a coder that has to learn it first wastes its first hundred steps.

The learning rate follows the share of the run that is done, in tokens or in minutes, whichever is further. A schedule in
steps would have to guess the speed of a machine that others use too, and a run stopped before its decay is worth much less.

Each save is a finished coder folder, not a trainer state: what a killed run leaves can be used.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentbench.corpora.corpus_files import content_sha256
from latentbench.kernel.errors import EmptyCorpus, SpecError
from latentbench.kernel.identity import digest
from latentbench.lab.coders import feed
from latentbench.lab.coders.coder_recipe import CoderRecipe, TrainRecipe, read_recipe
from latentbench.models.language_model import Loaded, load
from latentbench.subject.coders import saelens
from latentbench.subject.coders.quality import fvu
from latentbench.views import terminal


@dataclass(frozen=True)
class Scale:
    """Centring and scaling of one hookpoint: trained inputs are `(x - mean) / scale`.

    Attributes:
        mean: [d] float32.
        scale: root mean square of the centred components.
    """

    mean: Tensor
    scale: float

    @staticmethod
    def of(x: Tensor) -> Scale:
        """Measured on activations [n, d]."""
        wide = x.float()
        mean = wide.mean(0)
        return Scale(mean, float((wide - mean).square().mean().sqrt()))

    def apply(self, x: Tensor) -> Tensor:
        """Raw activations [n, d] -> trainer's inputs, float32."""
        return (x.float() - self.mean) / self.scale


def fold(w_enc: Tensor, b_enc: Tensor, w_dec: Tensor, b_dec: Tensor, scale: Scale) -> dict[str, Tensor]:
    """Weights for raw activations from weights for scaled ones, with unit-norm decoder rows.

    The trained coder is z = TopK(n * (u W_enc + b_enc)), u' = (z / n) W_dec + b_dec, u = (x - mean) / scale, n = row norms of
    W_dec. With f = scale * z, D = W_dec / n and c = scale * b_dec + mean it becomes
    f = TopK((x - c) (n W_enc) + scale * n * (b_enc + b_dec W_enc)), x' = f D + c: the same selection, the same
    reconstruction. Subtracting c first keeps the encoder's bias small, so that float16 matrices lose little.

    Args:
        w_enc: [d, n_latents]; b_enc: [n_latents]; w_dec: [n_latents, d]; b_dec: [d]; all trained with decoder norms in the
            selection (`rescale_acts_by_decoder_norm`).
        scale: of the inputs.

    Returns:
        W_enc, b_enc, W_dec, b_dec in float32, for a coder that subtracts b_dec from its input.
    """
    norms = w_dec.norm(dim=-1)
    return {
        "W_enc": w_enc * norms,
        "b_enc": scale.scale * norms * (b_enc + b_dec @ w_enc),
        "W_dec": w_dec / norms[:, None],
        "b_dec": scale.scale * b_dec + scale.mean,
    }


def rate(done: float, step: int, warm_up: int, decay: float) -> float:
    """Factor on the learning rate.

    Args:
        done: share of the run, 0 to 1.
        step: optimiser steps so far.
        warm_up: steps of linear rise.
        decay: last share of the run, over which it falls linearly to zero.
    """
    rise = min(1.0, (step + 1) / warm_up) if warm_up else 1.0
    fall = min(1.0, max(0.0, 1.0 - done) / decay) if decay else 1.0
    return rise * fall


@dataclass
class TrainingProgress:
    """How far a run is, in tokens or minutes, whichever is further."""

    tokens: int
    minutes: float | None
    seen: int = 0
    started: float = 0.0

    @property
    def done(self) -> float:
        """Share of the training that is done, 0 to 1."""
        by_tokens = self.seen / self.tokens
        by_time = (time.monotonic() - self.started) / 60 / self.minutes if self.minutes else 0.0
        return min(1.0, max(by_tokens, by_time))


def train(
    recipe_path: Path,
    corpus: Path,
    out: Path,
    minutes: float | None = None,
    tokens: int | None = None,
    device: str = "auto",
    checkpoints: Path | None = None,
    say: Callable[[str], None] = terminal.say,
) -> list[Path]:
    """Train every coder of a recipe and save it under `out/NAME`.

    Args:
        recipe_path: YAML as in `TrainRecipe`.
        corpus: JSONL with a `text` field, gzipped or not.
        out: parent folder of the coders.
        minutes: stop (with the decay done) after this long, if the tokens have not run out before.
        tokens: replaces the recipe's.
        device: of the subject and the coders.
        checkpoints: parent folder of the intermediate coders; None: `out`.
        say: takes one progress line.

    Returns:
        The coders' folders.

    Raises:
        SpecError: a bad recipe, or sae-lens not installed.
        EmptyCorpus: too little text for one shuffle buffer.
    """
    recipe = read_recipe(recipe_path)
    try:
        version = importlib.metadata.version("sae-lens")
    except importlib.metadata.PackageNotFoundError as e:
        raise SpecError("training needs the extra: pip install 'latentbench[train]' (in its own environment).") from e
    loaded = load(recipe.subject, recipe.dtype, device)
    texts, _ = feed.split(feed.read_documents(corpus), recipe.held_out)
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(recipe.seed)).tolist()
    shuffled = (texts[i] for i in order)
    rows = feed.batched(feed.token_rows(loaded, shuffled, recipe.context), recipe.contexts_per_batch)
    batches = feed.mixed(
        feed.activations(loaded, rows, recipe.hookpoints),
        recipe.buffer,
        recipe.batch,
        torch.Generator().manual_seed(recipe.seed),
    )
    progress = TrainingProgress(tokens or recipe.tokens, minutes, started=time.monotonic())
    facts = {
        "model_name": recipe.subject,
        "subject_weights": loaded.files.identity,
        "subject_dtype": recipe.dtype,
        "context_size": recipe.context,
        "prepend_bos": loaded.bos is not None,
        "bos_activations": "dropped",
        "corpus": corpus.name,
        "corpus_sha256": content_sha256(corpus),
        "held_out": recipe.held_out,
        "sources": [s.model_dump() for s in recipe.sources],
        "stored": recipe.stored,
        "trained_together": len(recipe.coders),
        "planned_tokens": progress.tokens,
        "time_limit_minutes": minutes,
        "recipe": recipe_path.name,
        "recipe_digest": digest(recipe.settings),
        "sae_lens_version": version,
        "sae_lens_training_version": version,
        "torch_version": torch.__version__,
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads, {loaded.device.type}",
    }
    return _loop(recipe, loaded, batches, progress, facts, out, checkpoints or out, say)


def _loop(
    recipe: TrainRecipe,
    loaded: Loaded,
    batches: Iterator[dict[str, Tensor]],
    progress: TrainingProgress,
    facts: dict[str, Any],
    out: Path,
    checkpoints: Path,
    say: Callable[[str], None],
) -> list[Path]:
    first = next(batches, None)
    if first is None:
        raise EmptyCorpus("the corpus is too short for one training batch.")
    scales = {name: Scale.of(values) for name, values in first.items()}
    trainers = {c.name: _trainer(c, recipe, len(scales[c.hookpoint].mean), loaded, progress) for c in recipe.coders}

    def save(parent: Path) -> list[Path]:
        return [_save(c, recipe, trainers[c.name], scales[c.hookpoint], facts, progress, parent) for c in recipe.coders]

    step, saved = 0, 0
    batch: dict[str, Tensor] | None = first
    while batch is not None and progress.done < 1:
        inputs = {name: scales[name].apply(values) for name, values in batch.items()}
        progress.seen += recipe.batch
        lines = []
        for c in recipe.coders:
            output = trainers[c.name].step(inputs[c.hookpoint])
            trainers[c.name].n_training_steps += 1
            if step % 25 == 0:
                dead = int(trainers[c.name].dead_neurons.sum())
                lines.append(
                    f"{c.name.rpartition('135m-')[2]} fvu {fvu(output.sae_in, output.sae_out):.4f} dead {dead}"
                )
        if lines:
            minutes = (time.monotonic() - progress.started) / 60
            speed = progress.seen / max(minutes * 60, 1e-9)
            say(
                f"{progress.done:6.1%} {progress.seen:>9,} tokens {minutes:5.1f} min {speed:6,.0f}/s | "
                + " | ".join(lines)
            )
        step += 1
        if progress.seen // recipe.checkpoint_every > saved:
            saved = progress.seen // recipe.checkpoint_every
            save(checkpoints)
        batch = next(batches, None)
    return save(out)


def _trainer(coder: CoderRecipe, recipe: TrainRecipe, width: int, loaded: Loaded, progress: TrainingProgress) -> Any:
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    device = str(loaded.device)
    with torch.random.fork_rng():  # sae-lens draws its initial weights from the process-wide generator
        torch.manual_seed(recipe.seed)
        sae = TopKTrainingSAE(
            TopKTrainingSAEConfig(
                d_in=width,
                d_sae=coder.n_latents,
                k=recipe.k,
                device=device,
                normalize_activations="none",
                apply_b_dec_to_input=False,
                rescale_acts_by_decoder_norm=True,
                aux_loss_coefficient=recipe.auxiliary,
            )
        )
    config = SAETrainerConfig(
        total_training_samples=progress.tokens,
        train_batch_size_samples=recipe.batch,
        lr=recipe.learning_rate,
        lr_end=0.0,
        device=device,
        autocast=True,
        dead_feature_window=recipe.dead_after,
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer = SAETrainer(cfg=config, sae=sae, data_provider=iter(()))
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
        trainer.optimizer, lambda step: rate(progress.done, step, recipe.warm_up, recipe.decay)
    )
    return trainer


def _save(
    coder: CoderRecipe,
    recipe: TrainRecipe,
    trainer: Any,
    scale: Scale,
    facts: dict[str, Any],
    progress: TrainingProgress,
    parent: Path,
) -> Path:
    sae = trainer.sae
    with torch.no_grad():
        trained = {name: getattr(sae, name).detach().float().cpu() for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
        weights = fold(trained["W_enc"], trained["b_enc"], trained["W_dec"], trained["b_dec"], scale)
    metadata = {
        **facts,
        "hook_name": coder.hookpoint,
        "training_tokens": progress.seen,
        "training_steps": int(trainer.n_training_steps),
        "training_minutes": round((time.monotonic() - progress.started) / 60, 1),
        "training_finished": progress.done >= 1,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "batch": recipe.batch,
        "learning_rate": recipe.learning_rate,
        "seed": recipe.seed,
    }
    folder = parent / coder.name
    saelens.save(folder, weights, recipe.k, recipe.stored, metadata)
    return folder
