"""GGUF -> an ordinary safetensors folder, once.

transformers dequantises a GGUF while it loads, which takes ten seconds at every start, and refuses to save the result
because the config still says "quantised". So the dequantised tensors are copied into a fresh model of the same config
without `quantization_config` and saved. They are kept in float32: a 4-bit block is scale x code + minimum, which neither
float16 nor bfloat16 holds exactly, and what is cast later is then decided by the user, not by the cache.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from latentbench.kernel.errors import ModelError


def dequantise(gguf: Path, folder: Path) -> Path:
    """Convert `gguf` into a Hugging Face folder (config, tokenizer, float32 safetensors) at `folder`; reuse it if there.

    Raises:
        ModelError: transformers cannot read the file, or the `embedded` extra (gguf, accelerate) is missing.
    """
    if (folder / "config.json").exists():
        return folder
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder.parent.mkdir(parents=True, exist_ok=True)
    tmp = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".dequantise-"))
    try:
        quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        config = type(quantised.config).from_dict(
            {k: v for k, v in quantised.config.to_dict().items() if k != "quantization_config"}
        )
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        plain.load_state_dict(quantised.state_dict())
        plain.save_pretrained(tmp)
        tokenizer.save_pretrained(tmp)
        try:
            tmp.rename(folder)
        except OSError:
            # Another process has done the same in the meantime.
            if not (folder / "config.json").exists():
                raise
            shutil.rmtree(tmp, ignore_errors=True)
    except (OSError, ValueError, ImportError, RuntimeError, KeyError) as e:
        shutil.rmtree(tmp, ignore_errors=True)
        raise ModelError(
            f"cannot convert {gguf}: {e}. GGUF needs the extra: pip install 'latentbench[embedded]'."
        ) from e
    return folder
