"""Names of files on machines whose file system takes ASCII only, as Python has it under `LC_ALL=C` without its UTF-8 mode."""

from __future__ import annotations

import sys


def nameable(name: str) -> str:
    """The name with `?` for each character that a file here cannot be named with."""
    encoding = sys.getfilesystemencoding()
    return name.encode(encoding, "replace").decode(encoding)
