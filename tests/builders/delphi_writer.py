"""A latents cache that delphi itself writes, over a tiny random model with a random coder; run by the Python that has delphi.

    python delphi_writer.py FOLDER    FOLDER/tokenizer, FOLDER/latents/<hookpoint>/..., FOLDER/truth.npz

`truth.npz` is what the same model and coder give in one more pass, encoded here, so that what is imported can be compared with
what was computed and not with what was written.
"""

from __future__ import annotations

import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path


def stubbed() -> None:
    """Names that delphi imports beside its cache and that the cache does not use."""
    for name, held in (
        ("vllm", ()),
        ("faiss", ()),
        ("blobfile", ()),
        ("sentence_transformers", ("SentenceTransformer",)),
    ):
        module = types.ModuleType(name)
        # transformers asks whether it could be found.
        module.__spec__ = ModuleSpec(name, None)
        for attribute in held:
            setattr(module, attribute, object)
        sys.modules.setdefault(name, module)


def main(folder: Path) -> None:
    """Write the cache."""
    stubbed()
    import numpy as np
    import torch
    from delphi.config import CacheConfig  # type: ignore[import-not-found]
    from delphi.latents.cache import LatentCache  # type: ignore[import-not-found]
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(300)}, "w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder / "tokenizer")
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    model = LlamaModel(config).eval()
    weight, bias = torch.randn(32, 40), torch.full((40,), -9.0)

    def encode(acts: torch.Tensor) -> torch.Tensor:
        return torch.relu(acts @ weight + bias)

    rng = np.random.default_rng(0)
    # A few tokens stand often, so that latents that fire on them do.
    tokens = torch.from_numpy(np.minimum(rng.geometric(0.02, (96, 64)), 299))
    hookpoint = "layers.0"
    cache = LatentCache(model, {hookpoint: encode}, batch_size=8)
    cache.run(tokens.numel(), tokens)
    cache.save_splits(n_splits=2, save_dir=folder / "latents")
    settings = CacheConfig(
        dataset_repo="nobody/nothing", batch_size=8, cache_ctx_len=64, n_tokens=tokens.numel(), n_splits=2
    )
    cache.save_config(folder / "latents", settings, str(folder / "tokenizer"))
    with torch.no_grad():
        hidden = model(tokens, output_hidden_states=True).hidden_states[1]
        np.savez(folder / "truth.npz", tokens=tokens.numpy(), activations=encode(hidden).numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
