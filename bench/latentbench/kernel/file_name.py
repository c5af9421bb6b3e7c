"""Names of files and folders that people and labels give.

A label says what a table calls something, and may be anything. As the name of a file it can be too long, lead out of its folder,
be a device of some system, or be another label's on a disk that takes `A` for `a`. Replacing what is not allowed is the tempting
way, and gives two labels one file. So an ordinary name stays, and any other one is cleaned and has its digest behind it.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from pydantic import AfterValidator, Field

MOST = 100
"""Characters; file systems take 255 bytes, and endings are put behind."""
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})
"""What no file can be called on Windows, whatever its suffix."""


def file_name(label: str, most: int = MOST) -> str:
    """The name of the one file of a label, without folder and suffix."""
    ordinary = re.fullmatch(r"[a-z0-9][a-z0-9._-]*", label) and not reserved(label) and len(label) <= most
    if ordinary:
        return label
    told = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '_', label)[: most - 9].strip('_-')}-{told}".lstrip("-")


def reserved(name: str) -> bool:
    """Whether some system takes the name for a device, or drops its end."""
    return name.partition(".")[0].lower() in DEVICES or name.endswith((".", " "))


def _ordinary(name: str) -> str:
    if reserved(name):
        raise ValueError(f"{name!r} is no name for files on every system; choose another")
    return name


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=MOST), AfterValidator(_ordinary)]
"""A name that somebody gives and that files and folders have."""
