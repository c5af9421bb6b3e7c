"""Files of a run as a tracking server gets them: without what looks like a secret.

Runs of today refuse secrets in their spec. Those of before may hold one in an address or a parameter, and a server is read by
more people than a folder. The folder itself stays as it is; a copy that differs from it says so by its digest, which then does
not fit, and that is right: it is another file.
"""

from __future__ import annotations

import json
from pathlib import Path

from latentbench.kernel.inputs import JSON_BYTES, YAML_BYTES, parse_json, read_text
from latentbench.kernel.veil import HIDDEN, cleaned, is_secret, veiled


def without_secrets(path: Path) -> str | None:
    """The text of `run.json` or `spec.yaml` with `***` for its secrets; None where it has none and can be sent as it is.

    Raises:
        Unusable: it is not what its name says. OSError: it cannot be read.
    """
    if path.suffix == ".json":
        text = read_text(path, JSON_BYTES)
        held = parse_json(text, finite=False)
        clean = cleaned(held)
        return None if clean == held else json.dumps(clean, indent=2, ensure_ascii=False) + "\n"
    text = read_text(path, YAML_BYTES)
    shown = "\n".join(map(_line, text.split("\n")))
    return None if shown == text else shown


def _line(line: str) -> str:
    """A line of YAML; a field that holds a secret ends with it."""
    name, colon, value = line.partition(":")
    if colon and value.strip() and is_secret(name.strip(" -'\"{")):
        return f"{name}: {HIDDEN}"
    return veiled(line)
