"""Names -> objects, without importing them.

One table per kind maps a name to `module:attribute`. Nothing is imported until a name is used, which is what keeps
`bench --help` fast, and an entry point of another package (`latentbench.scorers`, `latentbench.explainers`,
`latentbench.judges`, `latentbench.coders`) adds a name without touching this repository. A decorator that registers at
import time would be shorter, but then listing the names means importing torch.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from bench.errors import SpecError, UnknownName

BUILTIN: dict[str, dict[str, str]] = {
    "scorer": {
        "detection": "bench.scorers.detection:Detection",
        "fuzzing": "bench.scorers.fuzzing:Fuzzing",
        "embedding": "bench.scorers.embedding:Embedding",
        "simulation": "bench.scorers.simulation:Simulation",
        "surprisal": "bench.scorers.surprisal:Surprisal",
        "intruder": "bench.scorers.intruder:Intruder",
        "intervention": "bench.scorers.intervention:Intervention",
        "saebench": "bench.scorers.saebench:SaeBench",
        "sensitivity": "bench.scorers.sensitivity:Sensitivity",
        "output_choice": "bench.scorers.output_choice:OutputChoice",
    },
    "explainer": {
        "llm": "bench.explainers.llm:LlmExplainer",
        "tokens": "bench.explainers.tokens:TokensExplainer",
        "output": "bench.explainers.output:OutputExplainer",
        "empty": "bench.explainers.null:EmptyExplainer",
        "constant": "bench.explainers.null:ConstantExplainer",
        "shuffled": "bench.explainers.null:ShuffledExplainer",
        "planted": "bench.explainers.planted:PlantedExplainer",
        "vocab": "bench.explainers.vocab:VocabExplainer",
        "ensemble": "bench.explainers.ensemble:EnsembleExplainer",
        "file": "bench.explainers.file:FileExplainer",
        "contrastive": "bench.explainers.contrastive:ContrastiveExplainer",
        "best-of-k": "bench.explainers.best_of_k:BestOfKExplainer",
    },
    "judge": {
        "transformers": "bench.judges.transformers:TransformersJudge",
        "openai": "bench.judges.openai:OpenAIJudge",
        "embed": "bench.judges.embed:EmbedJudge",
        "simulator": "bench.judges.simulator:SimulatorJudge",
        "mock": "bench.judges.mock:MockJudge",
        "subject": "bench.judges.subject:SubjectJudge",
    },
    "coder": {
        "sparsify": "bench.coders.sparsify:load",
        "saelens": "bench.coders.saelens:load",
        "neurons": "bench.coders.neurons:load",
        "random": "bench.coders.random:load",
    },
}


def names(kind: str) -> dict[str, str]:
    """name -> "module:attribute" for a kind: the built-in ones and those of installed entry points.

    Raises:
        SpecError: an entry point that takes a built-in name, which would silently change what a published name means.
    """
    known = dict(BUILTIN[kind])
    for point in entry_points(group=f"latentbench.{kind}s"):
        if point.name in BUILTIN[kind]:
            raise SpecError(
                f"the entry point {point.value!r} takes the built-in {kind} name {point.name!r}; rename it in its package."
            )
        known[point.name] = point.value
    return known


def lookup(kind: str, name: str) -> Any:
    """The object registered under a name.

    Raises:
        UnknownName: no such name; the message suggests near ones.
    """
    known = names(kind)
    if name not in known:
        raise UnknownName(kind, name, known)
    module, _, attribute = known[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
