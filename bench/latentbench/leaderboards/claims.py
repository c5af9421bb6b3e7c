"""What a run or a row says of names, as far as somebody else says it, too: which explainer is a floor, which id a key belongs to,
what a judge's qualification is.

Scores follow from judgements; names follow from nothing in the same file, so they are compared with what is installed here and
with the committed rows of judges. Believing a row's `is_floor` is the tempting short cut, and lets the wrong latent's explanation
stand in a table as a method. What cannot be compared here (code of another package, parameters of one's own) is said and not
refused: a result must not become a forgery by moving to a machine with fewer packages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from latentbench.explainers.explainer import load_explainer
from latentbench.judges.qualification import Qualification, folders, read
from latentbench.kernel.config import read_yaml, validate
from latentbench.kernel.errors import BenchError, CorruptTable
from latentbench.kernel.registry import BUILTIN, lookup
from latentbench.kernel.tasks import available
from latentbench.leaderboards.row import Row
from latentbench.prompts.task import TaskFile
from latentbench.runs.finished import Run
from latentbench.runs.record import RECORD, UNQUALIFIED, Named
from latentbench.scorers.scorer import load_scorer

UNCONFIRMED = "says itself"
"""What stands before a qualification that no row of judges gives."""
RATE = 1e-6
"""By how much a failure rate may differ from its counts."""


def misnamed(row: Row) -> Iterator[str]:
    """What a row says of its explainer and scorer, and the ones that are installed here say otherwise; one sentence each."""
    yield from explainer_misnamed(row.explainer, row.is_floor)
    yield from _of_another("scorer", row.scorer)


def explainer_misnamed(named: Named, is_floor: bool) -> Iterator[str]:
    """What is said of an explainer, and the one that is installed here says otherwise."""
    own = declares_floor(named.id)
    if own is not None and own != is_floor:
        yield f"{named.id} is {'a' if own else 'no'} floor, and it says otherwise"
    yield from _of_another("explainer", named)


def _of_another(kind: str, named: Named) -> Iterator[str]:
    owner = _keys(kind).get(named.key)
    if owner is not None and owner != named.id:
        yield f"the key of {kind} {named.id} is that of {owner}"


def declares_floor(explainer: str) -> bool | None:
    """Whether an explainer, by its `name@version`, knows nothing of the latent; None where nobody here can say.

    A built-in one is what it is in every version; of another package's only the version that is installed is known.
    """
    name, _, version = explainer.partition("@")
    task = _task("explainers", name)
    if task is None or (task.implementation not in BUILTIN["explainer"] and task.version != version):
        return None
    try:
        said = lookup("explainer", task.implementation).is_floor
    except (BenchError, AttributeError):
        return None
    return said if isinstance(said, bool) else None


def unknown_names(rows: Iterable[Row]) -> list[str]:
    """What rows say of names and nobody here can compare, one sentence each."""
    strangers = sorted({row.explainer.id for row in rows if declares_floor(row.explainer.id) is None})
    said = [f"Whether it is a floor is as the rows say of explainers that are not here: {', '.join(strangers)}."]
    return said if strangers else []


def forged_names(run: Run) -> list[str]:
    """What the record of a run says of its explainers and judges that cannot be, one sentence each.

    The spec of a run has what its rows have not: parameters, and whole identities of judges.
    """
    found = []
    for explainer in run.record.explainers.values():
        found += list(explainer_misnamed(explainer, explainer.is_floor))
    for judge in run.record.judges.values():
        if judge.key != judge.identity.key:
            found.append(f"the key of judge {judge.label!r} ({judge.identity.label}) is not that of its identity")
    for entry in run.record.spec.explainers:
        record = run.record.explainers.get(entry.label)
        # A path has the name of its file, so only that is compared.
        name = Path(entry.use).name.removesuffix(".yaml")
        if record is not None and record.id.partition("@")[0] != name:
            found.append(f"explainer {entry.label!r} is {record.id}, and the spec uses {entry.use}")
    return [*found, *_miscounted(run)]


def _miscounted(run: Run) -> Iterator[str]:
    totals = run.record.totals
    if totals is None:
        return
    for name, said in (("explanations", totals.explanations), ("judgements", totals.judgements)):
        counted = run.table(name).counts("outcome")
        for outcome in sorted({*said, *counted}):
            n, found = said.get(outcome, 0), counted[outcome]
            if n != found:
                yield f"it counts {n} {name} with the outcome {outcome}, and its table has {found}"
    rate = run.record.failure_rate
    if rate is not None and abs(rate - totals.failure_rate) > RATE:
        yield f"its failure rate is {rate}, and its counts give {totals.failure_rate:g}"


def check_names(run: Run) -> None:
    """Refuse a run whose record says of names what cannot be.

    Raises:
        CorruptTable: the message names the first.
    """
    # Tests and runs of before may say less; whoever has no digests is not ranked anyway.
    if run.record.verified and (wrong := forged_names(run)):
        raise CorruptTable(f"{run.folder / RECORD}: {wrong[0]}. Restore the file, or carry the run out again.")


def confirmed(rows: Sequence[Row], places: Iterable[Path] | None = None) -> list[Row]:
    """Rows whose qualifications are marked where no committed row of judges gives them.

    Args:
        places: folders of rows of judges; those of this machine by default.
    """
    if all(row.qualification == UNQUALIFIED for row in rows):
        return list(rows)
    given: dict[str, set[str]] = {}
    for place in folders() if places is None else places:
        for exam in _exams(place):
            given.setdefault(exam.judge_key, set()).add(exam.verdict)
    marked = []
    for row in rows:
        said = row.qualification
        known = said == UNQUALIFIED or said in given.get(row.judge.key, ())
        marked.append(row if known else row.model_copy(update={"qualification": f"{UNCONFIRMED} {said!r}"}))
    return marked


def misjudged(rows: Iterable[Row], place: Path) -> list[str]:
    """Rows whose judge has another name than the committed exams of the same key give it; one sentence each.

    Args:
        place: folder of rows of judges.
    """
    names = {exam.judge_key: _label(exam) for exam in _exams(place)}
    wrong = {
        (row.judge.id, names[row.judge.key])
        for row in rows
        if names.get(row.judge.key, row.judge.id) not in (row.judge.id, "")
    }
    return [f"the key of judge {said} is that of {own}" for said, own in sorted(wrong)]


def _label(exam: Qualification) -> str:
    held = exam.judge_identity
    return f"{held['provider']}:{held['model']}" if {"provider", "model"} <= held.keys() else ""


def _exams(place: Path) -> list[Qualification]:
    return read(place) if place.is_dir() else []


@cache
def _task(kind: str, name: str) -> TaskFile | None:
    path = available(kind).get(name)
    if path is None or path.suffix != ".yaml":
        return None
    try:
        return validate(TaskFile, read_yaml(path), str(path))
    except BenchError:
        return None


@cache
def _keys(kind: str) -> dict[str, str]:
    """Key -> id of what is installed, with the parameters of its file and of each preset, as far as these are enough."""
    found = {}
    for name in available(f"{kind}s"):
        task = _task(f"{kind}s", name)
        for preset in (None, *(task.presets if task else ())):
            use = {"use": name, "preset": preset}
            try:
                if kind == "scorer":
                    scorer = load_scorer(use)
                    found[scorer.key] = scorer.id
                else:
                    explainer = load_explainer(use)
                    found[explainer.key({})] = explainer.id
            except (BenchError, KeyError, TypeError):
                # It needs more than its file says: what it reads, or another explainer.
                continue
    return found
