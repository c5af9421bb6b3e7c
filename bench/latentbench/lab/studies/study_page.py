"""A study's folder: tables, figures, `study.json`, and a page that a person reads; and the index of all studies of a folder.

    STUDY/study.json          what was run: spec, profile, runs with their identities, date, command, findings, limits
    STUDY/table.csv, .md      and one pair per further table
    STUDY/figure.png, .svg    and one pair per further figure
    STUDY/README.md           all of it on one page
    STUDY/report.html         the same in one file, with its figures, specification and identities (`bench report STUDY`)
    README.md                 the index

The pages and the index are pure functions of the study.json files (`bench study --index`), so they can be made again years later
without runs, suites or models; what was not run stands in the index as not run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentbench.analysis.walkthrough.sentence_walk import write_walk
from latentbench.kernel.errors import CorruptTable, RunError
from latentbench.kernel.files import write_json, write_text
from latentbench.kernel.inputs import read_json, understood
from latentbench.lab.studies.session import Session
from latentbench.lab.studies.study_result import StudyResult, StudyTable, clean, to_csv, view
from latentbench.leaderboards.run_page import REPORT
from latentbench.runs.finished import Run
from latentbench.views.escape import Html, address, html, markdown, markdown_code
from latentbench.views.figure import embedded, write
from latentbench.views.number import number, percent
from latentbench.views.page import Block, Bullets, Facts, Heading, Listing, Page, Picture, Prose
from latentbench.views.table import Cell, Column, Table

RECORD = "study.json"
INDEX = "README.md"


def write_study(
    folder: Path, session: Session, result: StudyResult, key: str, date: str, seconds: float
) -> dict[str, Any]:
    """Write everything but the index; `study.json` comes last. Returns its content."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in result.figures.items():
        write(figure, folder / name)
    if result.walk is not None:
        write_walk(folder, result.walk)
    record = {
        "name": session.name,
        "title": session.study.title,
        "question": session.study.question,
        "kind": session.study.kind,
        "size": session.size,
        "key": key,
        "date": date,
        # Runs that were found again have taken their time before.
        "seconds": round(max(seconds, sum(r.record.seconds or 0.0 for r in session.runs)), 1),
        "command": session.command,
        "findings": result.findings,
        "limits": [*dict.fromkeys([*session.study.limits, *result.limits, *common_limits(session)])],
        "paper": session.study.paper.model_dump(),
        "tables": [_table(t) for t in result.tables],
        "figures": list(result.figures),
        "runs": [_run(r) for r in session.runs],
        "judges": judges(session),
        "spec": session.study.model_dump(mode="json", exclude_defaults=True),
        "profile": session.profile.model_dump(mode="json"),
    }
    write_pages(folder, record)
    write_json(folder / RECORD, record)
    return record


def write_pages(folder: Path, record: Mapping[str, Any]) -> None:
    """Render tables and page of a study from its `study.json`."""
    with understood(folder / RECORD, RunError, "Make the study again."):
        texts = {INDEX: study_page(record).markdown()}
        for table in tables(record):
            texts |= {f"{table.name}.csv": to_csv(table), f"{table.name}.md": view(table).markdown()}
    for name, text in texts.items():
        write_text(folder / name, text)


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write `report.html` of a study.

    Args:
        out: folder that it goes into; the study's own by default.

    Raises:
        RunError: no study there.
        CorruptTable: a figure that the study names is missing.
    """
    record = read_study(folder)
    if record is None:
        raise RunError(
            f"{folder} holds no study that can be read; make it with `bench study NAME --out {folder.parent}`."
        )
    missing = [name for name in record["figures"] if not (folder / f"{name}.svg").exists()]
    if missing:
        raise CorruptTable(f"{folder} has no {missing[0]}.svg; make the study again: {record['command']} --again")
    figures = {name: embedded(folder / f"{name}.svg") for name in record["figures"]}
    with understood(folder / RECORD, RunError, f"Make the study again: {record['command']} --again"):
        page = study_page(record, figures).html()
    path = (out or folder) / REPORT
    write_text(path, page)
    return path


def judge_keys(record: Mapping[str, Any]) -> dict[str, str]:
    """Keys of the judges that made a study's numbers, by their names in its tables, from the identities of its runs."""
    return {name: key for run in record["runs"] for name, key in run["identities"].get("judges", {}).items()}


def judges(session: Session) -> dict[str, str]:
    """Judges that the study's runs asked: the name in its tables -> the reference behind it."""
    used = dict.fromkeys(label for run in session.runs for label in run.record.judges)
    return {name: session.profile.judges[name] for name in used}


def common_limits(session: Session) -> list[str]:
    """Limits that hold for every study, from its runs."""
    found = [f"Size `{session.size}`: {session.profile.summary}"]
    failed = [r for r in session.runs if (r.record.failure_rate or 0) > 0.05]
    if failed:
        worst = max(r.record.failure_rate or 0 for r in failed)
        found.append(
            f"{len(failed)} of {len(session.runs)} runs lost more than 5 % of their calls (at most {percent(worst)})."
        )
    few = [len(r.record.latents) for r in session.runs if len(r.record.latents) < 30]
    if few:
        found.append(f"Some intervals rest on few latents: the smallest run has {min(few)}.")
    return found


def tables(record: Mapping[str, Any]) -> list[StudyTable]:
    """The tables of a `study.json`."""
    return [
        StudyTable(t["name"], t["title"], tuple(t["columns"]), t["rows"], t["note"], tuple(t["shown"]))
        for t in record["tables"]
    ]


def study_page(record: Mapping[str, Any], figures: Mapping[str, str] | None = None) -> Page:
    """The page of a study; pure.

    Args:
        record: `study.json`.
        figures: name -> address of its drawing, for HTML.
    """
    made = f"{record['date']}, {duration(record['seconds'])}, size `{record['size']}`"
    pictures = [_picture(name, (figures or {}).get(name)) for name in record["figures"]]
    blocks: list[Block] = [
        Prose(record["question"]),
        Prose(f"`{record['command']}`, {made}.", soft=True),
        *pictures[:1],
    ]
    blocks += [Heading("What it found"), Bullets(record["findings"]), Heading("Tables", face="html")]
    for table in tables(record):
        blocks.append(view(table))
        blocks.append(Html("") if figures else Prose(f"All columns: `{table.name}.csv`.", soft=True, face="page"))
    blocks += [
        *pictures[1:],
        Heading("The paper"),
        Prose(f"{record['paper']['where']}. {record['paper']['note']}".strip()),
    ]
    blocks += [Heading("Limits"), Bullets(record["limits"])]
    if record["runs"]:
        blocks += [Heading("Judges and runs"), Facts(_named(record)), _runs(record["runs"])]
        blocks.append(Heading("Identities", face="html"))
        blocks.append(Listing.of_json({r["id"]: r["identities"] for r in record["runs"]}, face="html"))
    blocks.append(Heading("Specification", face="html"))
    blocks.append(Listing.of_json({"study": record["spec"], "profile": record["profile"]}, face="html"))
    return Page(record["title"], blocks)


def _named(record: Mapping[str, Any]) -> dict[str, str]:
    """The references of a study's judges, each with the key that answered: a reference may mean another judge by now."""
    keys = judge_keys(record)
    return {
        name: f"{reference} (key {keys[name]})" if name in keys else reference
        for name, reference in record["judges"].items()
    }


def _picture(name: str, address: str | None) -> Picture:
    drawing = f'<img src="{address}" alt="{html(name)}" style="max-width:100%">' if address else ""
    return Picture(name, f"{name}.png", Html(drawing))


def _runs(runs: Sequence[Mapping[str, Any]]) -> Table:
    columns = [Column("run", "text"), Column("suite", "text"), Column("latents", "count"), Column("judges", "text")]
    columns += [Column("failed calls", "percent", 1), Column("s", "number", 0)]
    rows: list[list[Cell]] = [
        [
            r["id"],
            f"{r['suite']} ({r['digest']})",
            r["latents"],
            ", ".join(r["judges"]),
            r["failure_rate"],
            r["seconds"],
        ]
        for r in runs
    ]
    return Table("", columns, rows)


def read_study(folder: Path) -> dict[str, Any] | None:
    """`study.json` of a folder; None where there is none that can be read, so that the study is made again."""
    try:
        record = read_json(folder / RECORD, finite=False)
        return record if _is_record(record) else None
    except (OSError, ValueError):
        return None


_FIELDS: dict[str, Any] = {
    "title": str,
    "size": str,
    "date": str,
    "key": str,
    "command": str,
    "seconds": (int, float),
    "figures": list,
    "tables": list,
    "findings": list,
    "runs": list,
    "profile": dict,
    "spec": dict,
}
_NAME = re.compile(r"[\w-]+")


def _is_record(record: Any) -> bool:
    """Whether a value has what the index and the pages ask of a record; names of its files are no paths."""
    if not isinstance(record, dict) or not all(isinstance(record.get(name), kind) for name, kind in _FIELDS.items()):
        return False
    names = [*record["figures"], *(t.get("name") if isinstance(t, dict) else None for t in record["tables"])]
    return all(isinstance(name, str) and _NAME.fullmatch(name) for name in names)


INTRO = """# Studies

The tables and figures of "Automatically Interpreting Millions of Features in Large Language Models" (arXiv 2410.13928), each as
a spec ([tasks/studies](../../tasks/studies)), a table, a figure and a page that says what it found and what it cannot show. The
paper's numbers stand in a table of their own: they are mostly medians, of other metrics, and the paper's subjects, coders and
judges are several hundred times larger than the embedded ones. So only signs and orders are compared, never levels.

Every table of scores has a control: the same explanations, each given to another latent. Where real explanations are not shown
to score above those (corrected for all controls of the study), the page says *not shown that this judge reads explanations*, and
a difference in that row may be one of windows and not of explanations.

Beside every comparison stand `detectable`, the true difference that its test finds in 4 of 5 studies of this size (from the
spread of the differences that the study measured, at 5 % over the number of comparisons in the table, which is what Holm's
correction leaves to the smallest p), and `needed`, the latents with which the paper's own difference of the two levels (else
0.02) would be found as often. A page says *not shown; this study could not have shown it* where the first is above the
paper's difference: nothing was found out there, in either direction.

```bash
bench study                                  # what there is
bench study sampling                         # one study; --size large for a GPU box
bench study --all --out docs/studies         # all of them (about two hours on 2 cores); goes on where it was stopped
bench report docs/studies/sampling           # one self-contained HTML page of a study
```

The study `human` needs ratings by people, so `--all` leaves it out unless `--ratings` names some
([how to have people rate](../rate.md)).

What a study's names mean (`main`, `detection`, ...) is said by a profile: suites, models, judges, sizes. Embedded, the default:
[tasks/profiles/embedded.yaml](../../tasks/profiles/embedded.yaml); for a GPU box:
[tasks/profiles/large.yaml](../../tasks/profiles/large.yaml). Another judge is one line there. Suites and runs are kept in
`runs/studies`, activations and replies in the user cache; all are found again.

## How the sizes were chosen

By power, within about two hours of two cores for everything. An embedding is cheap, so it judges 192 latents a coder: over the
same latents on all windows of their suites, because there what is noisy are windows, and where levels hold other latents on 20
windows, because there it is latents. The simulator takes a tenth of a second a window, so it judges 32 latents on 10 windows; a
difference of 0.02 would need hundreds of latents or thousands (column `needed`), and the pages say so. It is asked once about a
window for detection and fuzzing together. Surprisal is asked for where its control has shown that it reads explanations and where
the study is about it ([layers](layers/README.md), [scorer-agreement](scorer-agreement/README.md)).
Explanations that a language model writes take seconds each here, so those studies have 28 to 32 latents. No table has a p-value
below 24.
"""


def index(folder: Path, names: Sequence[str], outdated: Mapping[str, str]) -> str:
    """The index page of a folder of studies.

    Args:
        folder: with a folder per study.
        names: every study that there is, in order.
        outdated: name -> what has changed since; they are listed apart, without a finding.
    """
    records = {name: read_study(folder / name) for name in names}
    made = {name: r for name, r in records.items() if r}
    done = {name: r for name, r in made.items() if name not in outdated}
    lines = [INTRO, "## What was run", ""]
    if not done:
        lines.append("Nothing yet.")
    else:
        columns = [Column("study", "text"), Column("size", "text"), Column("date", "text"), Column("time", "number")]
        rows: list[list[Cell]] = [
            [f"{name}: {r['title']}", r["size"], r["date"][:10], duration(r["seconds"]), (r["findings"] or ["none"])[0]]
            for name, r in done.items()
        ]
        lines.append(Table("", [*columns, Column("first finding", "prose")], rows).markdown().rstrip())
        total = sum(r["seconds"] for r in done.values())
        pages = ", ".join(f"[{markdown(name)}]({address(name)}/{INDEX})" for name in done)
        lines += ["", f"Pages: {pages}.", "", f"{len(done)} of {len(names)} studies, {duration(total)} in all."]
    if outdated:
        lines += [
            "",
            "## Out of date",
            "",
            "Their pages say what was measured with the judges of their day. To make one again: ",
        ]
        lines[-1] += "`bench study NAME --again`."
        lines += [
            "",
            *(f"- [{markdown(name)}]({address(name)}/{INDEX}): {markdown(what)}" for name, what in outdated.items()),
        ]
    missing = [name for name in names if name not in made]
    if missing:
        lines += ["", "## What was not run", "", f"Here: {', '.join(markdown_code(m) for m in missing)}."]
    if not any(r["size"] == "large" for r in made.values()):
        lines += ["", "No study has been run at size `large`."]
    return "\n".join(lines).rstrip() + "\n"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    return f"{number(seconds, 0)} s" if seconds < 120 else f"{number(seconds / 60, 0)} min"


def _table(table: StudyTable) -> dict[str, Any]:
    return {
        "name": table.name,
        "title": table.title,
        "note": table.note,
        "columns": list(table.columns),
        "shown": list(table.shown),
        "rows": [{k: clean(v) for k, v in row.items() if k in table.columns} for row in table.rows],
    }


def _run(run: Run) -> dict[str, Any]:
    record = run.record
    return {
        "id": run.id,
        "suite": record.suite.name,
        "digest": record.suite.digest,
        "latents": len(record.latents),
        "judges": list(record.judges),
        "failure_rate": record.failure_rate or 0.0,
        "seconds": record.seconds,
        "identities": record.identities.model_dump(mode="json", exclude_none=True),
    }
