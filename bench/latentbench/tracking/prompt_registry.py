"""Prompts of a run in MLflow's prompt registry: a new version only for a text that the registry does not have.

The registry's numbers are for browsing. What identifies a prompt is the key of its explainer or scorer, which every child run
carries; the same text re-registered at every run would make the version list unreadable.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from latentbench.kernel.identity import digest, text_digest
from latentbench.runs.record import ExplainerRecord, RunRecord, ScorerRecord
from latentbench.tracking.entries import NAME_CHARS, clean
from latentbench.tracking.mlflow_settings import forced
from latentbench.tracking.side_by_side import side_by_side

if TYPE_CHECKING:
    from mlflow.entities.model_registry import PromptVersion
    from mlflow.tracking import MlflowClient

LINK_SECONDS = 10
EXPERIMENTS_TAG = "_mlflow_experiment_ids"
"""Tag of a prompt from which MLflow reads under which experiments it is shown."""
ALIAS_CHARS = 200
"""Characters of an alias; MLflow takes 255."""
TEXT_CHARS = 90_000
"""Characters of a prompt that MLflow takes."""


def prompts_of(record: RunRecord) -> dict[str, tuple[str, dict[str, str]]]:
    """Prompt name -> (text, tags) for all explainers and scorers of a `run.json`.

    A name is `scorer.detection.system`: kind, label and part, with a digest where other words would give the same name. A part
    that is not text (few-shot examples) is JSON; an empty one is left out.
    """
    found: dict[str, tuple[str, dict[str, str]]] = {}
    named: list[tuple[str, ExplainerRecord | ScorerRecord]] = [
        ("explainer", part) for part in record.explainers.values()
    ]
    for kind, part in [*named, *(("scorer", part) for part in record.scorers.values())]:
        for prompt, value in part.prompts.items():
            text = _text(value)[:TEXT_CHARS]
            if text.strip():
                name = ".".join(clean(word) for word in (kind, part.label, prompt))
                # A registry outlives the run, so the name alone must say which label and prompt it is of.
                if name != f"{kind}.{part.label}.{prompt}" or "." in prompt or len(name) > NAME_CHARS:
                    name = f"{name[:NAME_CHARS]}.{digest([part.label, prompt])[:8]}"
                tags = {"latentbench.id": part.id, "latentbench.key": part.key, "latentbench.text": text_digest(text)}
                found[name] = (text, tags)
    return found


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=1, ensure_ascii=False) if value else ""


def register(client: MlflowClient, experiment: str, record: RunRecord) -> list[PromptVersion]:
    """Make sure that the registry has every prompt of the run; returns the versions, in the order of their names.

    Args:
        experiment: id of the experiment under which the prompts are shown.
    """
    # The client links a new prompt to the *process-wide* experiment on the *process-wide* server, in a thread of its own:
    # for this call both are made to be ours, and the thread is waited for, so that it neither outlives the settings nor
    # meets our next write in SQLite.
    ours = {
        "MLFLOW_TRACKING_URI": client.tracking_uri,
        "MLFLOW_EXPERIMENT_ID": experiment,
        "MLFLOW_EXPERIMENT_NAME": None,
    }
    with forced(ours):
        return side_by_side(
            client.tracking_uri,
            lambda told: _version(client, experiment, told[0], *told[1]),
            sorted(prompts_of(record).items()),
        )


def _version(client: MlflowClient, experiment: str, name: str, text: str, tags: dict[str, str]) -> PromptVersion:
    number = 1
    while (found := _get(client, name, number)) is not None:
        if found.template == text:
            return _aliased(client, found, tags)
        number += 1
    if number == 1 and (first := _first(client, experiment, name, text, tags)) is not None:
        # A prompt that was not there has no alias that could be of a newer version.
        client.set_prompt_alias(name, _alias(tags), first.version)
        return first
    made = client.register_prompt(name=name, template=text, commit_message=tags["latentbench.id"], tags=dict(tags))
    for thread in threading.enumerate():
        if thread.name.startswith("link_prompt_to_experiment"):
            thread.join(timeout=LINK_SECONDS)
    return _aliased(client, made, tags)


def _first(client: MlflowClient, experiment: str, name: str, text: str, tags: dict[str, str]) -> PromptVersion | None:
    """The first version of a new prompt; None where the way of several requests must be taken.

    `register_prompt` looks twice whether the prompt is there, and then links it to the experiment by a tag, in two requests of
    another thread. What is new is made with that tag.
    """
    from mlflow.exceptions import MlflowException

    if client.tracking_uri.startswith("databricks"):
        return None
    try:
        client.create_prompt(name, tags["latentbench.id"], {**tags, EXPERIMENTS_TAG: f",{experiment},"})
    except MlflowException as e:
        # Somebody else makes it at this moment, or it has lost its versions.
        if e.error_code == "RESOURCE_ALREADY_EXISTS":
            return None
        raise
    return client.create_prompt_version(name, text, tags["latentbench.id"], dict(tags))


def _aliased(client: MlflowClient, version: PromptVersion, tags: dict[str, str]) -> PromptVersion:
    """The version, which is found by the id of what asks with it: alias `detection_2-0` is the newest text of detection@2-0.

    Parameters change a text and leave the id, so several versions may be of one; an older one, logged again, takes no alias back.
    """
    alias = _alias(tags)
    if alias in version.aliases:
        return version
    held = _found(lambda: client.get_prompt_version_by_alias(version.name, alias))
    if held is None or int(held.version) < int(version.version):
        client.set_prompt_alias(version.name, alias, version.version)
    return version


def _alias(tags: dict[str, str]) -> str:
    return re.sub(r"[^\w-]", "_", tags["latentbench.id"])[:ALIAS_CHARS]


def _get(client: MlflowClient, name: str, number: int) -> PromptVersion | None:
    """A version, or None if there is none; not `load_prompt`, which also touches the process-wide active experiment."""
    return _found(lambda: client.get_prompt_version(name, number))


def _found(get: Callable[[], PromptVersion | None]) -> PromptVersion | None:
    """What there is, or None; MLflow says of an alias that nobody has that it is no valid value."""
    from mlflow.exceptions import MlflowException

    try:
        return get()
    except MlflowException as e:
        if e.error_code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"):
            return None
        raise
