"""From what a user types for a coder to its report: which format, which subject, which text.

Everything has a default, because the first question about somebody else's coder is whether it works at all. The subject is
the one that the coder names; the text is what this project's subject wrote, which every installation has.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from latentbench.corpora.corpus import documents
from latentbench.corpora.corpus_spec import CorpusSpec, JsonlCorpus, TextCorpus
from latentbench.kernel.config import validate
from latentbench.kernel.errors import CoderError, UnknownName
from latentbench.kernel.tasks import tasks_dirs
from latentbench.models.language_model import DType, load
from latentbench.subject.coders.coder_files import coder_files
from latentbench.subject.coders.coder_report import CoderReport, coder_report
from latentbench.subject.coders.coder_spec import CoderSpec
from latentbench.subject.coders.provenance import folder_provenance
from latentbench.subject.coders.start_token import Bos

TEXT = "corpora/smollm2-sampled-1.jsonl.gz"
"""Text of a default check, in the `tasks` folder."""
ENOUGH = 200
"""Documents read of a text at most for each thousand tokens asked for."""
_BOS: dict[str, Bos] = {"auto": "auto", "true": True, "false": False}


def report_of(
    coder: str,
    subject: str | None = None,
    corpus: Path | None = None,
    coder_format: str | None = None,
    sae_id: str | None = None,
    hookpoint: str | None = None,
    tokens: int = 4096,
    context: int = 128,
    bos: str = "auto",
    as_is: bool = False,
    loss: bool = True,
    dtype: str = "float32",
    device: str = "auto",
) -> CoderReport:
    """Measure a coder; see `bench coder check` for the arguments.

    Raises:
        UnknownName: of a format, dtype or `bos`.
        CoderError: the coder cannot be used, or says no subject.
        ModelError, DataError: subject or text cannot be had.
    """
    for what, given, known in (("dtype", dtype, get_args(DType)), ("bos", bos, tuple(_BOS))):
        if given not in known:
            raise UnknownName(what, given, known)
    spec = _spec(coder, coder_format, sae_id, hookpoint, as_is)
    loaded = load(subject or _subject(spec), cast(DType, dtype), device)
    texts = _texts(corpus, tokens)
    return coder_report(spec, loaded, texts, tokens, context, _BOS[bos], loss)


def _spec(coder: str, form: str | None, sae_id: str | None, hookpoint: str | None, as_is: bool) -> CoderSpec:
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(coder).name).strip("._-")[:60] or "coder"
    given: dict[str, object] = {"name": name, "hookpoint": hookpoint, "as_is": as_is}
    if sae_id is not None:
        given |= {"format": form or "saelens-release", "release": coder, "sae_id": sae_id}
        return validate(CoderSpec, given, "the command line")
    form = form or "auto"
    return validate(CoderSpec, given | {"format": form, "path": coder}, "the command line")


def _subject(spec: CoderSpec) -> str:
    if spec.release is not None:
        from latentbench.subject.coders.saelens_release import model_of

        named = model_of(spec.release)
        if named is None:
            raise CoderError(f"sae-lens names no model for the release {spec.release!r}; give --subject.")
        return named
    said = folder_provenance(coder_files(spec)[0])
    if said.model is None:
        raise CoderError(f"{said.source} does not say which model it was trained on; give --subject.")
    return said.model


def _texts(corpus: Path | None, tokens: int) -> Sequence[str]:
    path = corpus or next(found for place in tasks_dirs() if (found := place / TEXT).exists())
    jsonl = ".jsonl" in path.suffixes
    most = max(ENOUGH, ENOUGH * tokens // 1000)
    chosen: CorpusSpec = (
        JsonlCorpus(path=(str(path),), limit_documents=most)
        if jsonl
        else TextCorpus(path=(str(path),), limit_documents=most)
    )
    return [text for text in documents(chosen) if isinstance(text, str)]
