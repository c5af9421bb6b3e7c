"""A benchmark harness for natural-language explanations of sparse latents.

The import graph goes downwards only; `docs/design.md` section 5 draws it. This module imports nothing, so that
`bench --help` never pays for torch, transformers or mlflow.
"""

from __future__ import annotations

__version__ = "0.1.0"
