"""Whether the model that a coder names is the subject: by name, because names are all that a coder's folder has.

A model has many names (`gpt2`, `gpt2-small`, `openai-community/gpt2`), so names are compared without owner, punctuation and the
few words that libraries add or leave out. Weights would be the better answer, but no trainer records their hash. A local folder
may have any name; where nothing in it says what it is and its architecture does not speak against it, the answer is "not known",
which is neither a match nor a warning for each coder.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from latentbench.kernel.inputs import read_json
from latentbench.models.language_model import LIVE, Loaded
from latentbench.models.packaged import KNOWN

Match = Literal["same", "other", "unknown"]

FAMILIES = {
    "gptneox": "gpt_neox", "pythia": "gpt_neox", "gptneo": "gpt_neo", "tinystories": "gpt_neo", "gptj": "gptj", "gpt2": "gpt2",
    "gpt-oss": "gpt_oss", "gemma": "gemma", "smollm": "llama", "llama": "llama", "mixtral": "mixtral", "mistral": "mistral",
    "qwen": "qwen", "opt": "opt", "bloom": "bloom", "falcon": "falcon", "mamba": "mamba", "phi": "phi", "stablelm": "stablelm",
    "olmo": "olmo", "mpt": "mpt",
}  # fmt: skip
"""Beginning of a model's name -> beginning of the `model_type` that its configuration has."""
_ALIASES = {"gpt2small": "gpt2", "tinystories": "tinystories"}


def plain(name: str) -> str:
    """A name without owner, revision, punctuation and case: `EleutherAI/pythia-70m-deduped@main` -> `pythia70mdeduped`."""
    name = name.removeprefix("pkg:").partition("==")[0].partition("@")[0].rstrip("/")
    last = re.sub(r"[^a-z0-9]", "", name.rpartition("/")[2].lower())
    last = last.removeprefix("meta") if last.startswith("metallama") else last
    return _ALIASES.get(last, last)


def match(named: str, loaded: Loaded) -> Match:
    """Whether the subject is the model that is named.

    Args:
        named: as a coder's folder says it.
        loaded: the subject.
    """
    wanted, (certain, known) = plain(named), subject_names(loaded)
    if any(wanted == plain(name) for name in known):
        return "same"
    if certain or _other_family(wanted, loaded):
        return "other"
    return "unknown"


def subject_names(loaded: Loaded) -> tuple[bool, list[str]]:
    """(whether the names are all that the subject can have, names), the reference first."""
    reference = loaded.files.reference
    if reference.startswith(LIVE):
        # Whoever holds an object may have given it any name; its configuration remembers where it was loaded from.
        told = str(getattr(loaded.model.config, "_name_or_path", "") or "")
        return False, [reference.removeprefix(LIVE), *([told] if told else [])]
    path = Path(reference).expanduser()
    if reference in {f"pkg:{name}" for name in KNOWN}:
        return False, [reference, Path(KNOWN[reference.removeprefix("pkg:")].member).name.partition(".")[0]]
    if not path.exists():
        return True, [reference]
    names = [path.stem if path.is_file() else path.resolve().name]
    # A folder of the hub's cache: models--OWNER--NAME/snapshots/REVISION.
    hub = [part.removeprefix("models--").replace("--", "/") for part in path.parts if part.startswith("models--")]
    recorded = recorded_name(loaded.files.folder)
    return bool(hub), [*hub, *names, *([recorded] if recorded else [])]


def recorded_name(folder: Path) -> str | None:
    """`_name_or_path` of a model's configuration, which transformers wrote until version 5; no path of somebody's machine."""
    try:
        config = read_json(folder / "config.json")
    except (ValueError, OSError):  # the model has loaded, so this is about a name only
        return None
    name = config.get("_name_or_path") if isinstance(config, dict) else None
    return name if isinstance(name, str) and name and not name.startswith(("/", ".", "~")) else None


def _other_family(wanted: str, loaded: Loaded) -> bool:
    family = next((family for start, family in FAMILIES.items() if wanted.startswith(start.replace("-", ""))), None)
    if family is None:
        return False
    return not str(loaded.model.config.get_text_config().model_type).replace("-", "_").startswith(family)
