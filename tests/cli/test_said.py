"""What commands say where something is odd: one line, short, with the right word."""

from __future__ import annotations

from pathlib import Path

import pytest
from latentbench.cli import app
from latentbench.cli.run_command import how_to_go_on
from latentbench.kernel.errors import CorruptTable, UnknownName
from latentbench.kernel.tasks import find
from latentbench.views.room import COMMENT, within
from typer.testing import CliRunner


def test_what_a_library_says_over_several_lines_is_one() -> None:
    said = str(CorruptTable("x.parquet is not readable: Column 3\n   Detail:\r\n\tfalse. Restore it."))
    assert said == "x.parquet is not readable: Column 3 Detail: false. Restore it."


@pytest.mark.parametrize(("kind", "one"), [("studies", "study"), ("suites", "suite"), ("scorers", "scorer")])
def test_a_kind_has_its_singular(kind: str, one: str) -> None:
    with pytest.raises(UnknownName, match=rf"^unknown {one} 'nothing-like-it'"):
        find(kind, "nothing-like-it")


@pytest.mark.parametrize("name", ["x" * 5000, "a/" + "x" * 5000, "x\0y"])
def test_a_name_of_any_length_is_a_short_message(name: str) -> None:
    with pytest.raises(UnknownName) as e:
        find("suites", name)
    assert len(str(e.value)) < 2500
    assert "x" * 100 not in str(e.value)


def test_many_known_names_are_counted() -> None:
    said = str(UnknownName("latent", "q", [f"n{i:04d}" for i in range(5000)]))
    assert said.endswith("and 4940 more.")
    assert len(said) < 600


@pytest.mark.parametrize("words", [["stats"], ["prune", "3"], ["forget", "--judge", "x"]])
def test_a_cache_is_not_made_by_looking_into_it(words: list[str], tmp_path: Path) -> None:
    missing = tmp_path / "none.sqlite"
    done = CliRunner().invoke(app, ["cache", *words, "--cache", str(missing)])
    assert f"there is no reply cache at {missing}" in str(done.exception)
    assert not missing.exists()


def test_what_fits_is_not_cut_and_what_does_not_says_so() -> None:
    assert within("a\nb\n", 100, "there") == "a\nb\n"
    text = (
        "# head\n\n<details><summary>x</summary>\n\n"
        + "".join(f"- line {i} ö\n" for i in range(9000))
        + "\n</details>\n"
    )
    cut = within(text, COMMENT, "The rest is there.")
    assert COMMENT * 0.9 < len(cut.encode()) <= COMMENT
    assert cut.count("<details>") == cut.count("</details>")
    assert cut.startswith("# head")
    assert "lines are left out" in cut.splitlines()[-1]
    assert cut.rstrip().endswith("The rest is there.**")
    assert len(within("x" * 100_000, COMMENT, "there").encode()) <= COMMENT


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        ("postgresql://bench@db:5433/replies", "bench resume runs/x --cache postgresql://bench@db:5433/replies"),
        ("postgres:///replies?host=/tmp/x y", "bench resume runs/x --cache 'postgresql:///replies?host=/tmp/x y'"),
        ("my cache.sqlite", "bench resume runs/x --cache 'my cache.sqlite'"),
    ],
)
def test_how_to_go_on_names_the_cache_as_it_is_given(cache: str, said: str) -> None:
    assert how_to_go_on(Path("runs/x"), Path(cache)) == f"Go on with: {said}"
