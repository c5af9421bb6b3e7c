"""Names -> objects, without importing them.

One table per kind maps a name to `module:attribute`. Nothing is imported until a name is used, which is what keeps
`bench --help` fast, and an entry point of another package (`latentbench.scorers`, `latentbench.explainers`,
`latentbench.judges`, `latentbench.coders`) adds a name without touching this repository. A decorator that registers at
import time would be shorter, but then listing the names means importing torch.
"""

from __future__ import annotations

import importlib
import sys
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.kernel.extras import missing

BUILTIN: dict[str, dict[str, str]] = {
    "scorer": {
        "detection": "latentbench.scorers.detection:Detection",
        "fuzzing": "latentbench.scorers.fuzzing:Fuzzing",
        "embedding": "latentbench.scorers.embedding:Embedding",
        "simulation": "latentbench.scorers.simulation:Simulation",
        "simulation_inline": "latentbench.scorers.simulation_inline:InlineSimulation",
        "surprisal": "latentbench.scorers.surprisal:Surprisal",
        "intruder": "latentbench.scorers.intruder:Intruder",
        "example_embedding": "latentbench.scorers.example_embedding:ExampleEmbedding",
        "intervention": "latentbench.scorers.intervention:Intervention",
        "saebench": "latentbench.scorers.saebench:SaeBench",
        "direction": "latentbench.scorers.direction:Direction",
        "sensitivity": "latentbench.scorers.sensitivity:Sensitivity",
        "output_choice": "latentbench.scorers.output_choice:OutputChoice",
    },
    "explainer": {
        "llm": "latentbench.explainers.llm:LlmExplainer",
        "tokens": "latentbench.explainers.top_tokens:TokensExplainer",
        "output": "latentbench.explainers.output:OutputExplainer",
        "empty": "latentbench.explainers.null:EmptyExplainer",
        "constant": "latentbench.explainers.null:ConstantExplainer",
        "shuffled": "latentbench.explainers.null:ShuffledExplainer",
        "planted": "latentbench.explainers.planted_truth:PlantedExplainer",
        "vocab": "latentbench.explainers.vocab:VocabExplainer",
        "copied-words": "latentbench.explainers.copied_words:CopiedWordsExplainer",
        "ensemble": "latentbench.explainers.ensemble:EnsembleExplainer",
        "file": "latentbench.explainers.file:FileExplainer",
        "contrastive": "latentbench.explainers.contrastive:ContrastiveExplainer",
        "best-of-k": "latentbench.explainers.best_of_k:BestOfKExplainer",
        "multi": "latentbench.explainers.multi:MultiExplainer",
        "excerpts": "latentbench.explainers.excerpts:ExcerptsExplainer",
        "patched": "latentbench.explainers.patched:PatchedExplainer",
        "agent": "latentbench.explainers.agent:AgentExplainer",
    },
    "judge": {
        "transformers": "latentbench.judges.transformers:TransformersJudge",
        "vllm": "latentbench.judges.vllm:VllmJudge",
        "openai": "latentbench.judges.remote.openai:OpenAIJudge",
        "embed": "latentbench.judges.embed:EmbedJudge",
        "simulator": "latentbench.judges.simulator.simulator_judge:SimulatorJudge",
        "mock": "latentbench.judges.mock.mock_judge:MockJudge",
        "subject": "latentbench.judges.subject_judge:SubjectJudge",
        "panel": "latentbench.panels.panel_judge:PanelJudge",
    },
    "coder": {
        "auto": "latentbench.subject.coders.coder_files:load",
        "sparsify": "latentbench.subject.coders.sparsify:load",
        "saelens": "latentbench.subject.coders.saelens:load",
        "gemma_scope": "latentbench.subject.coders.gemma_scope:load",
        "gemma_scope_2": "latentbench.subject.coders.gemma_scope_2:load",
        "llama_scope": "latentbench.subject.coders.llama_scope:load",
        "openmoss": "latentbench.subject.coders.openmoss:load",
        "dictionary_learning": "latentbench.subject.coders.dictionary_learning:load",
        "goodfire": "latentbench.subject.coders.goodfire:load",
        "mwhanna": "latentbench.subject.coders.layer_files:load_mwhanna",
        "qwen_scope": "latentbench.subject.coders.layer_files:load_qwen_scope",
        "neurons": "latentbench.subject.coders.neurons:load",
        "random": "latentbench.subject.coders.random:load",
        "saelens-release": "latentbench.subject.coders.saelens_release:load",
        "live": "latentbench.subject.coders.live_coder:load",
    },
}
_points = lru_cache(lambda kind, path: entry_points(group=f"latentbench.{kind}s"))
"""Installed entry points of a kind, read once (10 ms for 150 packages) for as long as `sys.path` is the same."""


def names(kind: str) -> dict[str, str]:
    """name -> "module:attribute" for a kind: the built-in ones and those of installed entry points.

    Raises:
        SpecError: an entry point that takes a built-in name, which would silently change what a published name means.
    """
    known = dict(BUILTIN[kind])
    for point in _points(kind, tuple(sys.path)):
        if point.name in BUILTIN[kind]:
            raise SpecError(
                f"the entry point {point.value!r} takes the built-in {kind} name {point.name!r}; rename it in its package."
            )
        known[point.name] = point.value
    return known


def lookup(kind: str, name: str, where: str = "") -> Any:
    """The object registered under a name; `where` stands before the message, such as the file that has the name.

    Raises:
        UnknownName: no such name; the message suggests near ones.
        SpecError: an entry point of another package whose module or attribute is not there.
    """
    known = names(kind)
    if name not in known:
        raise UnknownName(kind, name, known, where)
    module, _, attribute = known[name].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as e:
        if module.partition(".")[0] == __name__.partition(".")[0]:
            if (extra := missing(e, f"{kind} {name!r}")) is not None:
                raise extra from e
            raise
        raise SpecError(
            f"{kind} {name!r} is {known[name]!r} of another package, which cannot be loaded: {type(e).__name__}: {e}. "
            "Mend or remove that package's entry point."
        ) from e
