"""Whether a run is all of what its spec asks of its suite, and whether its floors are those that everybody knows.

Scores that follow from judgements, and judgements that are about the right windows, say nothing of what was left out: whoever
keeps the latents on which an explainer did well has a smaller run in which everything fits. So latents, kinds of coders and cells
are made again from spec and suite. A floor is made again, too: one whose texts somebody chose is as low as they like, and every
explainer then looks good beside it. To believe a record that has its own digest is the tempting way, and finds only accidents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from latentbench.explainers.explainer import Explainer, Explanation, load_explainer
from latentbench.kernel.latent import LatentView
from latentbench.leaderboards.submission.submission_rules import FLOORS
from latentbench.runs.finished import Run
from latentbench.runs.plan import explain_seed
from latentbench.suites.store import Suite

Texts = Mapping[tuple[str, int, str], str | None]
"""Explanations by the label of their explainer, repeat and latent."""


def misplanned(run: Run, suite: Suite, texts: Texts) -> Iterator[str]:
    """What no run of this spec on this suite has, one sentence each.

    Args:
        suite: that of the run.
        texts: explanations of the run.

    Raises:
        UnknownName, SpecError: a coder of the spec is none of the suite, or a floor has parameters that none has.
    """
    record = run.record
    if record.split != record.spec.split:
        yield f"the spec asks for {record.spec.split!r} latents, and the run says that it is on {record.split!r} ones"
    split = None if record.spec.split == "all" else record.spec.split
    views = suite.latents(split=split, coders=record.spec.coders, limit=record.spec.limit)
    owed = tuple(view.id for view in views)
    if owed != record.latents:
        missing, more = sorted({*owed} - {*record.latents}), sorted({*record.latents} - {*owed})
        named = (
            f"{missing[0]!r} is missing" if missing else f"{more[0]!r} is none of them" if more else "in another order"
        )
        yield (
            f"the run is on {len(record.latents)} latents, and its spec gives {len(owed)} of {suite.id} ({named}): latents that "
            "somebody picks are no sample"
        )
        return
    yield from _other_coders(run, suite, views)
    yield from _other_cells(run)
    yield from _other_floors(run, views, texts)


def _other_coders(run: Run, suite: Suite, views: Iterable[LatentView]) -> Iterator[str]:
    for coder, kind in run.record.kinds.items():
        if suite.kinds.get(coder) != kind:
            yield f"coder {coder!r} is {kind!r} in the run and {suite.kinds.get(coder)!r} in suite {suite.id}"
    own = {view.id: view.coder for view in views}
    said = run.scores[["latent", "coder"]].drop_duplicates()
    wrong = [(latent, coder) for latent, coder in said.itertuples(index=False, name=None) if own.get(latent) != coder]
    if wrong:
        latent, coder = wrong[0]
        yield f"scores.parquet has latent {latent!r} under coder {coder!r}, and suite {suite.id} under {own.get(latent)!r}"


def _other_cells(run: Run) -> Iterator[str]:
    record, spec = run.record, run.record.spec
    unasked = {(pair.scorer, pair.judge) for pair in record.unasked}
    pairs = [
        (scorer.label, judge)
        for scorer in spec.scorers
        for judge in scorer.judges or [judge.label for judge in spec.judges]
        if scorer.judges or (scorer.label, judge) not in unasked
    ]
    # Counted before they are made: a spec of a few kilobytes can ask for more cells than there is memory.
    number = len(spec.explainers) * len(pairs) * spec.repeats
    if number != len(record.cells):
        yield f"the spec asks for {number:,} cells, and the run has {len(record.cells):,}: a run is handed in whole"
        return
    owed = {(e.label, *pair, repeat) for pair in pairs for e in spec.explainers for repeat in range(spec.repeats)}
    if strange := {(*cell.labels, cell.repeat) for cell in record.cells} - owed:
        *labels, repeat = min(strange)
        yield f"the run has {' / '.join(map(str, labels))}, repeat {repeat}, and its spec does not ask for it"


def _other_floors(run: Run, views: Iterable[LatentView], texts: Texts) -> Iterator[str]:
    """Floors that are not what they are called."""
    latents = list(views)
    for entry in run.record.spec.explainers:
        record = run.record.explainers.get(entry.label)
        if record is None or record.id.partition("@")[0] not in FLOORS:
            continue
        name = record.id.partition("@")[0]
        if entry.use != name:
            yield f"the floor {entry.label!r} is {entry.use!r}, a file of its own; write `use: {name}`"
            continue
        floor = load_explainer({"use": name, "preset": entry.preset, "params": entry.params})
        if _major(floor.id) != _major(record.id):
            yield f"the floor {entry.label!r} is {record.id}, and {floor.id} here; run again with this version"
            continue
        for repeat in sorted({cell.repeat for cell in run.record.cells if cell.explainer.label == entry.label}):
            wrong = next((view for view in latents if _differs(run, floor, entry.label, repeat, view, texts)), None)
            if wrong is not None:
                yield f"the floor {entry.label!r} says of {wrong.id!r} (repeat {repeat}) what {floor.id} does not say of it"
                break


def _differs(run: Run, floor: Explainer, label: str, repeat: int, view: LatentView, texts: Texts) -> bool:
    others = {
        other: {latent: Explanation(latent, texts.get((other, repeat, latent))) for latent in run.record.latents}
        for other in floor.after
    }
    made = floor.parse(view, [], explain_seed(run.record.spec, repeat, floor, view), others)
    return made.text != texts.get((label, repeat, view.id))


def _major(version: str) -> str:
    """What a version says of comparability: `shuffled@2` of `shuffled@2-0`."""
    return version.partition("-")[0]
