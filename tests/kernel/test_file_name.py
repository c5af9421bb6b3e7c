"""Names of files made of labels: they stay in their folder, fit, and no two labels have one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from latentbench.kernel.config import Frozen, validate
from latentbench.kernel.errors import SpecError
from latentbench.kernel.file_name import Name, file_name
from latentbench.tuning.plots import figures

ODD = [
    "..", ".", "", " ", "a/b", "/etc/passwd", "../../x", "a\\b", "C:\\x", "con", "NUL.txt", "com1", "a.", "a ", ".hidden",
    "-rf", "~", "A", "a\x00b", "a\nb", "größe", "漢字", "\ud800", "x" * 300, "y" * 101, "漢" * 200, "a*?<>|\":b", "$(x)",
    "%2e%2e%2f", "a\u202eb",
]  # fmt: skip


@pytest.mark.parametrize("label", ODD, ids=ascii)
def test_an_odd_label_is_a_file_of_its_own_folder(tmp_path: Path, label: str) -> None:
    name = file_name(label)
    path = tmp_path / f"{name}.svg"
    path.write_text("x", encoding="utf-8")
    assert path.resolve().parent == tmp_path.resolve()
    assert [p.name for p in tmp_path.iterdir()] == [f"{name}.svg"]
    assert name.isascii()
    assert not name.startswith((".", "-"))


def test_labels_have_names_of_their_own_also_where_case_is_not_told_apart() -> None:
    labels = [*ODD, "a", "a_b", "b", "CON", "x" * 299, "x" * 301, "score", "Score", "SCORE"]
    names = [file_name(label).casefold() for label in labels]
    assert len(set(names)) == len(labels)


@pytest.mark.parametrize(
    "label", ["detection", "9a311760dbec57f0-detection-exam-gold", "score.fuzzing.auroc", "a_b-c.d"]
)
def test_an_ordinary_label_stays(label: str) -> None:
    assert file_name(label) == label


class _Named(Frozen):
    name: Name


@pytest.mark.parametrize("name", ["con", "nul.x", "a.", "x" * 101, "../x", "a/b", "", "A", "a\n"])
def test_a_name_that_some_system_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="name"):
        validate(_Named, {"name": name}, "x.yaml")


def test_figures_of_a_search_are_named_after_any_objective() -> None:
    names = ["score.../../../x", "score.A", "score.a", "score." + "y" * 300]
    trial: dict[str, Any] = {"number": 0, "state": "complete", "breaks": [], "name": "", "settings": {"s": 1.0}}
    trial["means"] = dict.fromkeys(names, 0.5)
    result = {
        "objectives": [{"name": name, "larger_is_better": True} for name in names],
        "trials": [trial],
        "importances": {},
        "winners": [0],
        "spec": {"space": {"s": {"values": None, "log": False}}},
    }
    found = figures(result)
    assert len({name.casefold() for name in found}) == 2 * len(names) + 1
    assert all(Path(name).name == name and len(name) < 130 for name in found)


def test_a_fit_is_written_beside_its_panel(tmp_path: Path) -> None:
    from latentbench.lab.panels.panel_fit import fit_panel

    panel = tmp_path / "p.yaml"
    panel.write_text("members: [mock:label, mock:oracle]\nfit: ../stolen.yaml\n", encoding="utf-8")
    with pytest.raises(SpecError, match="name of a file beside it"):
        fit_panel(
            panel, ["detection"], tmp_path / "r.yaml", tmp_path / "c", None, 1, tmp_path / "cache", "x", "weighting"
        )  # type: ignore[arg-type]
