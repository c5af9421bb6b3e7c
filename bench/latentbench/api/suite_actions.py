"""Suites from Python: of a recipe, of a model and coders in memory, or of another tool's files; and runs for other tools.

The recipe stays a recipe when the objects are live: they are offered under names, and the recipe names them. Arguments for every
setting of a suite are the tempting shape, and would be a second list of them that falls behind the first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.api.arguments import console_of, folder_of, path_of
from latentbench.api.blocking import blocking
from latentbench.api.result import Result
from latentbench.kernel.config import validate
from latentbench.kernel.errors import SpecError

if TYPE_CHECKING:
    from latentbench.exchange.exporting import Export
    from latentbench.models.live_subject import LiveSubject
    from latentbench.subject.coders.live_coder import LiveCoder
    from latentbench.suites.store import Suite


def build_suite(
    recipe: Mapping[str, Any] | str | Path,
    out: str | Path | None = None,
    *,
    model: Any = None,
    tokenizer: Any = None,
    coders: LiveCoder | Sequence[LiveCoder] = (),
    latents: int = 48,
    texts: Sequence[str] = (),
    work: str | Path | None = None,
    labels: str | Path | None = None,
    strict: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> Suite:
    """Build a suite: draw latents and windows and freeze them, of a recipe or of a model and coders in memory.

    What is given as an object stands in no recipe: without `subject` it is `model`, without `coders` it is `coders`, without
    `corpus` it is `texts`. Objects are identified by what is in them (docs/python.md says how) and are there for this process
    only: in another one the suite can be run on and scored, but not built, verified with `--activations` or steered.

    Args:
        recipe: a dictionary with the keys of a recipe, or the path of a YAML file. Paths in a dictionary are relative to the
            working directory.
        out: the suite's folder; by default that of the recipe file, and `tasks/suites/NAME` for a dictionary,
            where `lb.suite(NAME)` finds it.
        model: a causal language model of transformers, in eval mode, as the subject.
        tokenizer: of `model`.
        coders: one `lb.LiveCoder` or several.
        latents: number of latents that are drawn of each of `coders`.
        texts: documents of the corpus. They are written beside the suite.
        work: folder for activations; the user cache by default.
        labels: folder of the labels of a recipe of kind gold.
        strict: refuse a suite that has fewer latents or windows than its recipe asks for.
        device: for a subject that is loaded.
        progress: show progress on standard error.

    Raises:
        SpecError: the recipe; or an object beside what the recipe says.
        DataError: no latent of a coder qualifies; the corpus; or with `strict` a suite that is short.
        DigestMismatch: the folder holds the same name and version with other content.
        ModelError, CoderError: subject or coder cannot be loaded, or are not identified by anything.
    """
    from latentbench.judges.embed import embedder

    console = console_of(progress)
    held = [coders] if not isinstance(coders, Sequence) else list(coders)
    if not isinstance(recipe, Mapping):
        if model is not None or tokenizer is not None or held or texts:
            raise SpecError(
                "objects go with a recipe that is a dictionary: lb.build_suite({...}, model=..., coders=...)."
            )
        from latentbench.suites.any_recipe import build_recipe

        file, folder = Path(recipe), path_of(out)
        where, known = path_of(work), path_of(labels)
        return blocking(
            lambda: build_recipe(
                file, folder, console, work=where, labels=known, embedder=embedder, strict=strict, device=device
            )
        )
    from latentbench.corpora.corpus_spec import JsonlCorpus
    from latentbench.subject.coders.live_coder import offer
    from latentbench.suites.build.build import build_told
    from latentbench.suites.build.suite_recipe import SuiteRecipe, anchored_recipe

    said = dict(recipe)
    if "kind" in said:
        raise SpecError(f"a recipe of kind {said['kind']!r} is built of a file: lb.build_suite(PATH).")
    subject = _subject(model, tokenizer)
    if subject is not None:
        _absent(said, "subject", "model")
        said["subject"] = {"model": subject.reference, "dtype": subject.dtype}
    if held and "coders" not in said:
        said["coders"] = [{"latents": latents, "coder": {"name": coder.name, "format": "live"}} for coder in held]
    lines = _lines(texts)
    if texts:
        _absent(said, "corpus", "texts")
        # The place is not known before the suite's name is known to be one.
        said["corpus"] = {"kind": "jsonl", "path": "corpus.jsonl"}
    parsed = validate(SuiteRecipe, said, "recipe")
    named = [entry.coder.name for entry in parsed.coders if entry.coder.format == "live"]
    stray = next((coder.name for coder in held if coder.name not in named), None)
    if stray is not None:
        raise SpecError(f"coder {stray!r} is given, and no coder of format live in the recipe has that name.")
    at = Path(out) if out is not None else Path("tasks") / "suites" / parsed.name
    if texts:
        parsed = parsed.model_copy(update={"corpus": JsonlCorpus(kind="jsonl", path=(str(_corpus_file(at, lines)),))})
    parsed = anchored_recipe(parsed, Path.cwd())
    if subject is not None:
        from latentbench.models.live_subject import offer as offer_subject

        offer_subject(subject)
    offer(*held)
    place = path_of(work)
    return blocking(lambda: build_told(parsed, at, place, console, embedder, strict, device))


def _absent(recipe: Mapping[str, Any], key: str, argument: str) -> None:
    if key in recipe:
        raise SpecError(f"the recipe says its `{key}`, and `{argument}` is given as well; leave one out.")


def _subject(model: Any, tokenizer: Any) -> LiveSubject | None:
    if model is None and tokenizer is None:
        return None
    if model is None or tokenizer is None:
        raise SpecError("a subject in memory is a `model` and its `tokenizer`; give both.")
    from latentbench.models.live_subject import LiveSubject

    known = str(getattr(model.config, "_name_or_path", "") or "") or str(model.config.model_type)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", known.rstrip("/").rpartition("/")[2]).strip("-._")
    return LiveSubject(name or "model", model, tokenizer)


def _lines(texts: Sequence[str]) -> str:
    """Texts as the lines of a corpus.

    Raises:
        SpecError: one that is no text.
    """
    import json

    if isinstance(texts, str):
        raise SpecError("texts is one text; give a list of texts, one a document.")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise SpecError(f"texts: number {number} is {repr(text)[:60]}, which is no text.")
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def _corpus_file(folder: Path, lines: str) -> Path:
    """The lines as a file that is named after its content, so that no other suite's corpus is written over."""
    from latentbench.kernel.files import write_text
    from latentbench.kernel.identity import text_digest

    path = folder / f"corpus-{text_digest(lines)}.jsonl"
    if not path.exists():
        write_text(path, lines)
    return path


def import_suite(source: str | Path, format: str, out: str | Path, **options: Any) -> Suite:
    """Make a suite of activations that another tool has published; no subject is run.

    Args:
        source: file or folder.
        format: `neuronpedia`, `delphi`, `openai` or `parquet` (docs/suites-from-elsewhere.md).
        out: folder of the suite.
        options: as those of `bench suite import`, with `_` for `-`: `latents=200`, `hookpoint="layers.9"`, `indices=(3, 7)`.

    Raises:
        SpecError: an option that is not known, or a value that does not fit.
        UnknownName, DataError, CorruptTable: the format, or the files.
        DigestMismatch: the folder holds the same name and version with other content.
    """
    from latentbench.suites.imported.imported_files import import_files

    return import_files(Path(source), format, Path(out), **options)


def export(
    run: str | Path | Result,
    to: str,
    out: str | Path,
    *,
    explainers: Sequence[str] = (),
    repeat: int = 0,
    force: bool = False,
) -> Export:
    """Write a finished run in another tool's layout.

    Args:
        run: its folder, or what `run` and `load` returned.
        to: `neuronpedia`, `delphi`, `saebench`, `hf`, `csv` or `inspect` (docs/exchange.md).
        out: the new folder.
        explainers: labels; by default all, without floors in layouts that have one text per latent.
        repeat: number of the repeat that such layouts get.
        force: replace a folder that an export has written.

    Raises:
        UnknownName: no such layout, or a label that the run does not have.
        SpecError: the run has fewer repeats.
        DataError: `out` exists, or cannot be written.
    """
    from latentbench.exchange.exporting import export as write

    return write(folder_of(run), to, Path(out), tuple(explainers), repeat, force)
