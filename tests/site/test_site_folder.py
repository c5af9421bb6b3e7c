"""A written site: the same bytes from the same tables, checked, safe to write, and of what it is told to show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from latentbench.cli import app
from latentbench.kernel.errors import DataError, RunError
from latentbench.site.site_files import site_files
from latentbench.site.site_folder import check_site, write_site
from latentbench.site.site_target import site_target
from typer.testing import CliRunner

from tests.builders.run_builder import Grid, build_run
from tests.builders.site_runs import shown_run, walked

ROOT = Path(__file__).parents[2]


@pytest.fixture
def written(kept_run: Path, tmp_path: Path) -> Path:
    return write_site(site_files(site_target(kept_run)), tmp_path / "site").folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_tables_give_the_same_bytes_wherever_they_lie(written: Path, kept_run: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(kept_run, tmp_path / "elsewhere" / "run"))
    again = write_site(site_files(site_target(moved)), tmp_path / "again").folder
    assert contents(again) == contents(written)
    assert len(contents(written)) > 15
    assert str(tmp_path).encode() not in b"".join(contents(written).values())


@pytest.mark.parametrize("name", ["index.html", "app.js", "data/boards.js", "data/r0/latent-1.js", "leaderboard.csv"])
def test_an_edited_file_is_found(written: Path, kept_run: Path, name: str) -> None:
    files = lambda: site_files(site_target(kept_run))  # noqa: E731
    check_site(files(), written, "again")
    path = written / name
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1) + b" ")
    with pytest.raises(DataError, match=f"{Path(name).name} is not what the tables give"):
        check_site(files(), written, "again")


def test_a_missing_file_and_one_too_many_are_found(written: Path, kept_run: Path) -> None:
    (written / "data/r0/more.js").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match=r"more\.js is not of the site"):
        check_site(site_files(site_target(kept_run)), written, "again")
    write_site(site_files(site_target(kept_run)), written)
    assert not (written / "data/r0/more.js").exists()
    (written / "app.css").unlink()
    with pytest.raises(DataError, match=r"app\.css is missing"):
        check_site(site_files(site_target(kept_run)), written, "again")


def test_a_folder_with_something_else_is_not_cleared(kept_run: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years", encoding="utf-8")
    with pytest.raises(DataError, match="holds 'thesis.tex' and is no site"):
        write_site(site_files(site_target(kept_run)), tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("name", ["data", "data/r0", "app.js"])
def test_nothing_is_written_through_a_link(written: Path, kept_run: Path, tmp_path: Path, name: str) -> None:
    outside = (written / name).rename(tmp_path / "outside")
    (written / name).symlink_to(outside)
    before = contents(tmp_path / "outside") or outside.read_bytes()
    write_site(site_files(site_target(kept_run)), written)
    check_site(site_files(site_target(kept_run)), written, "again")
    assert not (written / name).is_symlink()
    assert (contents(tmp_path / "outside") or outside.read_bytes()) == before


@pytest.mark.parametrize("step", range(5))
def test_a_site_whose_writing_was_stopped_is_written_again(kept_run: Path, tmp_path: Path, step: int) -> None:
    def stopped() -> Iterator[tuple[str, str]]:
        yield from islice(site_files(site_target(kept_run)), step)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_site(stopped(), tmp_path)
    write_site(site_files(site_target(kept_run)), tmp_path)
    check_site(site_files(site_target(kept_run)), tmp_path, "again")


def test_a_study_is_a_folder_with_runs(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        shown_run(tmp_path / name, Grid(coders={"res9": 4}, seed=seed), name)
    target = site_target(tmp_path)
    assert [run.name for run in target.runs] == ["one", "two"]
    names = [name for name, _ in site_files(target)]
    assert {"data/r0/latents.js", "data/r1/latents.js"} <= set(names)
    assert len(set(names)) == len(names)


def test_a_walkthrough_is_a_page_alone_or_beside_its_run(kept_run: Path, tmp_path: Path) -> None:
    walked(tmp_path / "walk")
    alone = dict(site_files(site_target(tmp_path)))
    assert '"walks":["The river"]' in alone["data/site.js"]
    text = alone["data/walk-0.js"]
    assert '"activations":[0.5,1.5]' in text
    assert '"judged":3,"attempted":4' in text
    assert "</script>" not in text
    assert "\u202e" not in text
    run = Path(shutil.copytree(kept_run, tmp_path / "run"))
    walked(run / "walk")
    beside = dict(site_files(site_target(run)))
    assert beside["data/walk-0.js"] == text
    assert "data/r0/latents.js" in beside


def test_copies_that_mlflow_keeps_are_no_second_run(kept_run: Path, tmp_path: Path) -> None:
    shutil.copytree(kept_run, tmp_path / "run")
    shutil.copytree(kept_run, tmp_path / "mlruns" / "artifacts" / "1" / "run")
    assert [run.name for run in site_target(tmp_path).runs] == ["run"]


def test_what_is_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is no run"):
        site_target(tmp_path)
    build_run(tmp_path / "a" / "same", Grid(coders={"x": 1}))
    build_run(tmp_path / "b" / "same", Grid(coders={"x": 1}))
    with pytest.raises(RunError, match="are both run 'same'"):
        site_target(tmp_path)


def test_the_command_writes_checks_and_shows_the_published_rows(kept_run: Path, tmp_path: Path) -> None:
    run = lambda *words: CliRunner().invoke(app, ["view", *map(str, words)])  # noqa: E731
    for shown in (kept_run, ROOT / "leaderboards"):
        out = tmp_path / shown.name
        first = run(shown, "--out", out)
        assert first.exit_code == 0, first.output
        assert "index.html" in first.output
        assert "is what the tables give" in run(shown, "--out", out, "--check").output
        (out / "index.html").write_text("edited", encoding="utf-8")
        wrong = run(shown, "--out", out, "--check")
        assert isinstance(wrong.exception, DataError)
