"""What a person says when a source is read, whatever its format is, and the name that a coder gets for want of a better one."""

from __future__ import annotations

import re

from pydantic import Field

from latentbench.kernel.config import Frozen
from latentbench.kernel.file_name import MOST, reserved
from latentbench.subject.coders.sparse import Kind


class ImportOptions(Frozen):
    """How a source is read."""

    indices: tuple[int, ...] = ()
    """Latents to read; all by default."""
    window: int | None = Field(default=None, ge=2, le=1 << 16)
    """Tokens of a window, cut around its peak; by default windows stay as they are, and a cache's are cut to 32."""
    silent_below: float = Field(default=0.0, ge=0, lt=1)
    """Activations up to this share of a latent's largest one count as silence."""
    kind: Kind | None = None
    """What the coder is."""
    hookpoint: str | None = None
    """Where the coder reads; with several in a source, the one to import."""
    tokenizer: str | None = None
    """Tokenizer of the subject, where a source holds token ids."""

    @property
    def wanted(self) -> frozenset[int] | None:
        """Coordinates to keep; all if None."""
        return frozenset(self.indices) or None


def coder_name(said: str | None, otherwise: str) -> str:
    """A source's own name as the name of a coder, without the signs that a name cannot have."""
    bare = re.sub(r"[^a-z0-9._-]+", "-", (said or "").lower()).strip("-._")[:MOST].rstrip("-._")
    return bare if bare and not reserved(bare) else otherwise
