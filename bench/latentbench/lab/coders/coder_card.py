"""The model card of a trained coder, rendered from its configuration and its measured quality.

A pure function: a card that is edited by hand and numbers that are measured again part company within a month.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latentbench.views.escape import markdown


def card(name: str, config: Mapping[str, Any], evals: Mapping[str, Any]) -> str:
    """Markdown of a coder's `README.md`.

    Args:
        name: of the coder.
        config: its `cfg.json`, as `latentbench.subject.coders.saelens.save` writes it.
        evals: its `eval.json`.
    """
    config, meta, evals = (_told(part) for part in (config, config["metadata"], evals))
    width, d = config["d_sae"], config["d_in"]
    sources = "\n".join(f"- {s['name']} ({s['licence']})" for s in map(_told, meta["sources"])) or "- not recorded"
    if not meta["training_finished"]:
        stopped = " The run was stopped before its learning rate had decayed."
    elif meta["training_tokens"] < meta["planned_tokens"]:
        stopped = (
            f" A time limit of {meta['time_limit_minutes']:g} minutes ended the run, with its learning rate decayed, before "
            f"the {meta['planned_tokens']:,} tokens of the recipe."
        )
    else:
        stopped = ""
    return f"""# {markdown(name)}

A TopK sparse autoencoder (k = {config["k"]}, {width:,} latents, {d} inputs) on `{meta["hook_name"]}` of
`{meta["model_name"]}`. It is a small coder for tests, demonstrations and comparisons of explanation methods on a CPU; it is
trained on few tokens and should not be taken as the state of the art.

Format: SAELens (`cfg.json`, `sae_weights.safetensors`; matrices in {meta["stored"]}). It takes raw activations of the subject
in {meta["subject_dtype"]}; the centring and scaling of training are folded into the weights, decoder rows have norm 1, and
the decoder bias is subtracted from the input.

## Quality on held-out text

| measure | value |
|---|---|
| fraction of variance unexplained | {evals["fvu"]:.4f} |
| active latents per token (L0) | {evals["l0"]:.2f} |
| dead latents (never active in the sample) | {evals["dead"]:.2%} |
| cross-entropy, subject as it is | {evals["ce_clean"]:.4f} nats per token |
| cross-entropy, reconstruction spliced in | {evals["ce_spliced"]:.4f} |
| cross-entropy, mean-ablated | {evals["ce_mean"]:.4f} |
| cross-entropy, zero-ablated | {evals["ce_zero"]:.4f} |
| loss recovered against mean ablation | {evals["recovered_mean"]:.4f} |
| loss recovered against zero ablation | {evals["recovered_zero"]:.4f} |

Measured on {evals["date"]} with `{evals["command"]}`: {evals["tokens"]:,} tokens of the last {meta["held_out"]:.0%} of the
corpus ({evals["held_out_documents"]:,} documents, none of them in training), cross-entropy on the first
{evals["loss_tokens"]:,} of them. BOS keeps its own activation in every condition and is not counted.

## Training

{meta["training_tokens"]:,} tokens in {meta["training_steps"]:,} steps of {meta["batch"]:,} ({meta["training_minutes"]} minutes,
{meta["hardware"]}), contexts of {meta["context_size"]} tokens after BOS, whose activations are dropped; sae-lens
{meta["sae_lens_training_version"]}, torch {meta["torch_version"]}, Adam, learning rate {meta["learning_rate"]:g} with
linear warm-up and decay, auxiliary loss for dead latents, seed {meta["seed"]}, {meta["date"]}.
Recipe: `tasks/coders/{meta["recipe"]}`
(digest {meta["recipe_digest"]}), which trains {meta["trained_together"]} coders in one pass of the subject.{stopped}

Text (sha256 of the file, uncompressed: {meta["corpus_sha256"][:16]}...), none of which is part of this repository:

{sources}

## Licence

The weights are released under the project's licence, Apache-2.0. The text keeps its own licences, listed above.
"""


def _told(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says, its texts as those of a page."""
    return {key: markdown(value) if isinstance(value, str) else value for key, value in data.items()}
