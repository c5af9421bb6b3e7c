"""A suite from a cache that delphi itself wrote, against what the model and the coder compute.

Opt-in (`make test-delphi`): delphi wants transformers below 5 and lives in an environment of its own, whose Python
`LATENTBENCH_DELPHI` names.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from latentbench.suites.imported.foreign_formats import read_source
from latentbench.suites.imported.import_options import ImportOptions
from latentbench.suites.imported.import_suite import ImportSettings, import_suite

from tests.suites.test_imported import holds, scored, shared

PYTHON = os.environ.get("LATENTBENCH_DELPHI", "")
WRITER = Path(__file__).parents[1] / "builders" / "delphi_writer.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="LATENTBENCH_DELPHI names no Python that has delphi (make test-delphi)"),
]


def test_a_cache_that_delphi_wrote_is_imported_verified_and_scored(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    done = subprocess.run(
        [PYTHON, str(WRITER), str(results)], capture_output=True, text=True, encoding="utf-8", timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    truth = np.load(results / "truth.npz")
    tokens, activations = truth["tokens"], truth["activations"]
    options = ImportOptions(window=16)
    suite = import_suite(
        read_source(results, "delphi", options), ImportSettings(name="delphi", latents=12), tmp_path / "suite"
    )
    assert len(suite.latents()) == 12
    assert suite.manifest["coders"][0]["n_latents"] == 40
    worst = 0.0
    for view in suite.latents():
        # What delphi keeps: entries above 1e-5, in float16.
        mine = np.where(activations[..., view.index] > 1e-5, activations[..., view.index], 0)
        assert view.row["rate_token"] == pytest.approx((mine > 0).mean())
        assert view.row["max_activation"] == pytest.approx(float(mine.max()), rel=1e-3)
        assert shared(view) == 0
        for w in (*view.explain, *view.test):
            row, place = divmod(w.position, 64)
            span = slice(place, place + 16)
            assert w.ids == tuple(tokens[row, span])
            assert w.text.split() == [f"w{t}" for t in tokens[row, span]]
            gap = np.abs(np.array(w.activations) - mine[row, span])
            worst = max(worst, float((gap / np.maximum(mine[row, span], 1e-3)).max()))
            assert w.active == bool(mine[row, span].any())
    assert worst < 2e-3
    assert set(suite.manifest["unknown"]) == {"subject", "promoted"}
    holds(suite)
    means = scored(suite, tmp_path / "run")
    assert means["empty"] == 0.5
    assert means["tokens"] > means["empty"]
