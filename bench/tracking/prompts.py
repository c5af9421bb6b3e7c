"""Prompts of a run in MLflow's prompt registry: a new version only for a text that the registry does not have.

The registry's numbers are for browsing. What identifies a prompt is the key of its explainer or scorer, which every child run
carries; the same text re-registered at every run would make the version list unreadable.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.identity import text_digest
from bench.tracking.entries import clean

if TYPE_CHECKING:
    from mlflow.entities.model_registry import PromptVersion
    from mlflow.tracking import MlflowClient


def prompts_of(record: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, str]]]:
    """Prompt name -> (text, tags) for all explainers and scorers of a `run.json`.

    A name is `scorer.detection.system`: kind, label and part. A part that is not text (few-shot examples) is JSON; an empty
    one is left out.
    """
    found: dict[str, tuple[str, dict[str, str]]] = {}
    for cell in record["cells"]:
        for kind in ("explainer", "scorer"):
            of = cell[kind]
            for part, value in of.get("prompts", {}).items():
                text = (
                    value
                    if isinstance(value, str)
                    else json.dumps(value, indent=1, ensure_ascii=False)
                    if value
                    else ""
                )
                if text.strip():
                    name = ".".join(clean(word) for word in (kind, of["label"], part))
                    tags = {
                        "latentbench.id": of["id"],
                        "latentbench.key": of["key"],
                        "latentbench.text": text_digest(text),
                    }
                    found[name] = (text, tags)
    return found


def register(client: MlflowClient, record: Mapping[str, Any]) -> list[PromptVersion]:
    """Make sure that the registry has every prompt of the run; returns the versions, in the order of their names."""
    return [_version(client, name, text, tags) for name, (text, tags) in sorted(prompts_of(record).items())]


def _version(client: MlflowClient, name: str, text: str, tags: dict[str, str]) -> PromptVersion:
    number = 1
    while (found := _get(client, name, number)) is not None:
        if found.template == text:
            return found
        number += 1
    return client.register_prompt(name=name, template=text, commit_message=tags["latentbench.id"], tags=tags)


def _get(client: MlflowClient, name: str, number: int) -> PromptVersion | None:
    """A version, or None if there is none; not `load_prompt`, which also touches the process-wide active experiment."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_prompt_version(name, number)
    except MlflowException as e:
        if e.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
            return None
        raise
