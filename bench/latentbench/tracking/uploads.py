"""Files of a run as a tracking server gets them: without what looks like a secret.

Runs of today refuse secrets in their spec. Those of before may hold one in an address or a parameter, and a server is read by
more people than a folder. The folder itself stays as it is; a copy that differs from it says so by its digest, which then does
not fit, and that is right: it is another file.

A field of `run.json` that is called `key` beside a label is the identity of what has the label: hidden, two runs could not be
compared by what the server has. Labels and packages are names that somebody gave, `token` among them, and what stands under one
is a key or a version. Everywhere else a name that services give to secrets is believed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
        clean = _cleaned(held)
        return None if clean == held else json.dumps(clean, indent=2, ensure_ascii=False) + "\n"
    text = read_text(path, YAML_BYTES)
    shown = "\n".join(map(_line, text.split("\n")))
    return None if shown == text else shown


NAMES = ("identities", "versions", "tables", "kinds", "matched")
"""Fields of `run.json` under which names are labels, packages and tables, and none is a service's."""


def _cleaned(held: Any) -> Any:
    """`run.json` without secrets, and with its keys."""
    if not isinstance(held, dict):
        return cleaned(held)
    return {name: _unnamed(value) if name in NAMES else _keyed(value, name) for name, value in held.items()}


def _unnamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _unnamed(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_unnamed(held) for held in value]
    return cleaned(value)


def _keyed(value: Any, name: str) -> Any:
    """What `cleaned` makes of it, but for the keys of what has a label; a spec labels what it names, and holds no keys."""
    if name == "spec":
        return cleaned(value, name)
    if isinstance(value, dict):
        own = "label" in value
        return {key: veiled(held) if own and key == "key" and isinstance(held, str) else _keyed(held, key)
                for key, held in value.items()}  # fmt: skip
    if isinstance(value, list):
        return [_keyed(held, name) for held in value]
    return cleaned(value, name)


def _line(line: str) -> str:
    """A line of YAML; a field that holds a secret ends with it."""
    name, colon, value = line.partition(":")
    if colon and value.strip() and is_secret(name.strip(" -'\"{")):
        return f"{name}: {HIDDEN}"
    return veiled(line)
