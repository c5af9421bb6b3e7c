"""Committed files keep their scores and get the keys that today's code gives to the same scorers and explainers.

    python bench/carry_over.py --old CHECKOUT [--old ANOTHER] [FILE ...]

CHECKOUT is a git checkout of the code that made the files, and both sides say what the same spec means: the old code gives each
scorer and explainer the key that stands in the file, today's code the key that it gets. Making the files again would be simpler,
and would publish new measurements under old dates. A file whose keys no checkout gives was made by yet another version; it is
refused and stays as it is. What has today's keys already is left alone, so the script may run twice. A baseline of an earlier
layout also gets the layout of today.

FILE is a gate's baseline or a leaderboard's result file; without one, all that this repository has committed. The record of
a study (`docs/studies/*/study.json`) keeps the keys that its runs had: it does not hold their specs, and nothing compares them.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentbench.analysis.gate.baseline import Baseline, read_baseline, write_baseline
from latentbench.explainers.explainer import load_explainer
from latentbench.kernel.config import validate
from latentbench.kernel.errors import BenchError, DataError
from latentbench.kernel.forms import YesNo
from latentbench.kernel.identity import digest
from latentbench.kernel.trial import Seen, Trial
from latentbench.leaderboards.results import RESULTS, read_file, render, write_file
from latentbench.runs.plan import explainer_keys
from latentbench.runs.record import Named
from latentbench.runs.run_spec import ExplainerEntry, RunSpec, ScorerEntry, load_run_spec
from latentbench.scorers.scorer import load_scorer

OLD_CODE = """
import json, sys
from importlib import import_module
from importlib.util import find_spec
package, asked = sys.argv[1], json.load(sys.stdin)
def loader(room, noun):
    module = room if find_spec(room) else room.removesuffix(".load") + "." + noun
    return getattr(import_module(module), "load_" + noun)
load_explainer = loader(package + ".explainers.load", "explainer")
load_scorer = loader(package + ".scorers.load", "scorer")
explainers = {label: load_explainer(*e) for label, e in asked["explainers"].items()}
scorers = {label: load_scorer(s[0]) for label, s in asked["scorers"].items()}
try:
    keys = import_module(package + ".runs.plan").explainer_keys(explainers)
except (ImportError, AttributeError):
    keys = {label: e.key for label, e in explainers.items()}
keys = {"explainers": keys, "scorers": {label: s.key for label, s in scorers.items()}}
print(json.dumps({
    kind: {label: [o.id, keys[kind][label], o.params.model_dump(mode="json"), dict(o.prompts)] for label, o in found.items()}
    for kind, found in (("explainers", explainers), ("scorers", scorers))
}))
"""
"""Prints what a spec's entries are to the code of a checkout, which may lie in `bench` or in `bench/latentbench`."""


class Refused(BenchError):
    """A file that cannot be carried over."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an entry of a spec is to one version of the code."""

    id: str
    key: str
    params: Mapping[str, Any]
    prompts: Mapping[str, Any]


BOARDS = Path(__file__).resolve().parents[1] / "leaderboards"

Meanings = Mapping[tuple[str, str], Meaning]
"""(`explainers` or `scorers`, label) -> meaning."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry over the files; 1 if one was refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, action="append", required=True, help="checkout of the code that made files")
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE")
    parsed = parser.parse_args(arguments)
    checkouts = [path.resolve() for path in parsed.old]
    refused = 0
    for path in parsed.files or sorted(p for room in ("gate", RESULTS) for p in (BOARDS / room).glob("*.json")):
        try:
            print(f"{path}: {'carried over' if carry(path, checkouts) else 'has the keys of today'}")
        except BenchError as e:
            refused += 1
            print(f"{path}: left as it is. {e}")
    if not parsed.files:
        render(BOARDS)
    return 1 if refused else 0


def carry(path: Path, checkouts: Sequence[Path]) -> bool:
    """Rewrite the keys of one file; False if they are those of today.

    Raises:
        Refused: no checkout explains them.
        DataError: the file is not JSON.
    """
    try:
        rows = "rows" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise DataError(f"{path} cannot be read: {e}.") from e
    return carry_results(path, checkouts) if rows else carry_baseline(path, checkouts)


def carry_baseline(path: Path, checkouts: Sequence[Path]) -> bool:
    """Rewrite the keys of a gate's baseline; False if they are those of today."""
    if second_layout(path):
        carry_baseline(path, checkouts)
        return True
    baseline = read_baseline(path)
    held = [("explainers", s.explainer) for s in baseline.scores] + [("scorers", s.scorer) for s in baseline.scores]
    spec = validate(RunSpec, baseline.spec, f"{path}, spec")
    new = renamed(held, [(c, spec, spec_place(baseline.command, c)) for c in checkouts])
    scores = [
        s.model_copy(
            update={"explainer": new["explainers", s.explainer.label], "scorer": new["scorers", s.scorer.label]}
        )
        for s in baseline.scores
    ]
    if scores == baseline.scores:
        return False
    write_baseline(baseline.model_copy(update={"scores": scores}), path)
    return True


def second_layout(path: Path) -> bool:
    """Rewrite a baseline of the first layout, whose probes held questions without a form; False for another one.

    Raises:
        Refused: a number was edited.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    if data.get("layout") != 1:
        return False
    frozen = data.pop("digest", None)
    if digest(data) != frozen:
        raise Refused(f"its content hashes to {digest(data)}, not to {frozen}")
    for probe in data["probes"]:
        if "question" in probe["request"]:
            question = probe["request"].pop("question")
            probe["request"]["trial"] = question and asdict(trial_of(question))
    write_baseline(validate(Baseline, data | {"layout": 2}, str(path)), path)
    return True


def trial_of(question: Mapping[str, Any]) -> Trial:
    """The trial of a yes/no question in a baseline of the first layout.

    Raises:
        Refused: a question of another scorer: what form it has cannot be told from its answers.
    """
    if question["task"] not in ("detection", "fuzzing"):
        raise Refused(f"its layout is old and asks questions of {question['task']}; freeze it again from a run")
    no, yes = question["answers"]
    seen = tuple(Seen(w["tokens"], w["ids"], w["marks"]) for w in question["windows"])
    return Trial(
        "", question["task"], YesNo(no, yes), question["explanation"], seen, question["truth"], question["actual"]
    )


def carry_results(path: Path, checkouts: Sequence[Path]) -> bool:
    """Rewrite the keys of a leaderboard's rows; False if they are those of today."""
    rows = read_file(path)
    held = [("explainers", row.explainer) for row in rows] + [("scorers", row.scorer) for row in rows]
    places = [spec_place(rows[0].command, checkout) for checkout in checkouts]
    specs = [(c, load_run_spec(place), place) for c, place in zip(checkouts, places, strict=True)]
    new = renamed(held, specs)
    carried = [
        row.model_copy(
            update={"explainer": new["explainers", row.explainer.label], "scorer": new["scorers", row.scorer.label]}
        )
        for row in rows
    ]
    if carried == rows:
        return False
    write_file(path, carried)
    return True


def renamed(
    held: Sequence[tuple[str, Named]], specs: Iterable[tuple[Path, RunSpec, Path]]
) -> dict[tuple[str, str], Named]:
    """Kind and label of what a file holds -> the same with the key of today.

    Args:
        held: kind and what the file says, for every place where it says it.
        specs: what may have made the file: a checkout, the spec, and where the spec lay.

    Raises:
        Refused: no checkout explains all of the file's keys.
    """
    faults = []
    for checkout, spec, place in specs:
        now = meanings_now(spec, place.parent)
        today = {entry: Named(label=entry[1], id=m.id, key=m.key) for entry, m in now.items()}
        if all(today.get((kind, named.label)) == named for kind, named in held):
            return today
        then = meanings_then(checkout, spec, place.parent)
        found = [fault(kind, named, then, now) for kind, named in held]
        if not any(found):
            return today
        faults.append(f"{checkout}: {'; '.join(dict.fromkeys(filter(None, found)))}")
    raise Refused(" | ".join(faults))


def fault(kind: str, named: Named, then: Meanings, now: Meanings) -> str | None:
    """Why an entry cannot have its key of today; None if it can.

    A parameter that the old code did not know has its default today, which a version vouches for.
    """
    name = f"{kind.removesuffix('s')} {named.label}"
    if (kind, named.label) not in then:
        return f"{name} is not in the spec"
    old, new = then[kind, named.label], now[kind, named.label]
    if (named.id, named.key) != (old.id, old.key):
        return f"{name} is {named.id} ({named.key}) here and {old.id} ({old.key}) to that code"
    if new.id != old.id:
        return f"{name} was {old.id} and is {new.id}"
    if new.prompts != old.prompts:
        return f"{name} has other prompts under the same version {old.id}"
    changed = sorted(p for p, value in old.params.items() if p not in new.params or new.params[p] != value)
    return f"{name} has other parameters under the same version {old.id}: {', '.join(changed)}" if changed else None


def meanings_now(spec: RunSpec, base: Path) -> Meanings:
    """What the spec's entries are to today's code."""
    asked = questions(spec, base)
    explainers = {label: load_explainer(*e) for label, e in asked["explainers"].items()}
    scorers = {label: load_scorer(s) for label, (s, _) in asked["scorers"].items()}
    keys = explainer_keys(explainers)
    read = {
        ("explainers", label): Meaning(e.id, keys[label], e.params.model_dump(mode="json"), dict(e.prompts))
        for label, e in explainers.items()
    }
    judged = {
        ("scorers", label): Meaning(s.id, s.key, s.params.model_dump(mode="json"), dict(s.prompts))
        for label, s in scorers.items()
    }
    return read | judged


def meanings_then(checkout: Path, spec: RunSpec, base: Path) -> Meanings:
    """What the spec's entries are to the code of a checkout, asked in a process of its own.

    Raises:
        Refused: that code cannot read the spec.
    """
    moved = (checkout / "bench" / "latentbench").is_dir()
    done = subprocess.run(
        [sys.executable, "-c", OLD_CODE, "latentbench" if moved else "bench"],
        input=json.dumps(questions(spec, base), default=str),
        env={**os.environ, "PYTHONPATH": str(checkout / "bench" if moved else checkout)},
        cwd=checkout,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise Refused(f"the code of {checkout} cannot read the spec: {done.stderr.strip().splitlines()[-1]}")
    found = json.loads(done.stdout)
    return {(kind, label): Meaning(*said) for kind, entries in found.items() for label, said in entries.items()}


def questions(spec: RunSpec, base: Path) -> dict[str, dict[str, tuple[dict[str, Any], Path]]]:
    """Kind -> label -> arguments of the loaders, the same for either version of the code."""
    kinds: dict[str, Sequence[ExplainerEntry | ScorerEntry]] = {"explainers": spec.explainers, "scorers": spec.scorers}
    return {
        kind: {
            e.label: ({"use": _local(e.use, base), "preset": e.preset, "params": dict(e.params)}, base) for e in entries
        }
        for kind, entries in kinds.items()
    }


def spec_place(command: str, checkout: Path) -> Path:
    """Where the spec of a run lies, from the command that made the run: in the checkout, or where that has none, here.

    Raises:
        DataError: the command names none.
    """
    named = [word for word in shlex.split(command) if word.endswith(".yaml")]
    if not named:
        raise DataError(f"the command {command!r} names no spec.")
    place = checkout / named[0]
    return place if place.exists() else Path(named[0]).resolve()


def _local(name: str, base: Path) -> str:
    return str((base / name).resolve()) if name.endswith(".yaml") and (base / name).exists() else name


if __name__ == "__main__":
    sys.exit(main())
