"""`pytest --latentbench-baseline FILE`: every check of the gate as a test.

The tests are known from the baseline alone, so `--collect-only`, `-k` and a dashboard see the same names whatever the run does.
The run itself is made once, when the first of them is set up. A check that cannot be made is an error, not a failure; an
inconclusive one is skipped with its reason.

pytest imports this module in every session in which the package is installed, so it imports nothing of the package at the top.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from latentbench.analysis.gate.gate_report import Check, GateReport


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the plugin."""
    group = parser.getgroup("latentbench", "score regressions against a frozen baseline")
    group.addoption(
        "--latentbench-baseline", type=Path, metavar="FILE", help="Collect one test per check of this baseline."
    )
    group.addoption(
        "--latentbench-run",
        type=Path,
        metavar="RUN_OR_SPEC",
        help="Run folder or run spec to compare; the baseline's own spec by default.",
    )
    group.addoption("--latentbench-delta", type=float, metavar="X", help="How much worse a mean score may be.")
    group.addoption("--latentbench-cache", type=Path, metavar="FILE", help="Reply cache of the run.")
    group.addoption(
        "--latentbench-offline", action="store_true", help="Do not ask the judges whether they have changed."
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the tests; first of all plugins, so that `-k` and `-m` see them."""
    baseline = config.getoption("--latentbench-baseline")
    if baseline is not None:
        collector: Any = GateCollector.from_parent(session, path=Path(baseline).absolute())
        items.extend(collector.collect())


class GateFailure(Exception):
    """A check that failed."""


class GateError(Exception):
    """A check that could not be made."""


class GateCollector(pytest.File):
    """A baseline as a file of tests; holds the one report that all of them read."""

    _report: GateReport | None = None
    _fault: GateError | None = None

    def collect(self) -> Generator[pytest.Item]:
        """One test per check."""
        from latentbench.analysis.gate.baseline import read_baseline
        from latentbench.analysis.gate.verdicts import planned
        from latentbench.kernel.errors import BenchError

        try:
            checks = planned(read_baseline(self.path))
        except BenchError as e:
            raise pytest.UsageError(f"--latentbench-baseline: {e}") from e
        for kind, name in checks:
            yield GateItem.from_parent(self, name=f"{kind}[{name}]", check=(kind, name))

    def check(self, which: tuple[str, str]) -> Check:
        """The verdict on one check, by kind and name, from the report that the first call makes.

        Raises:
            GateError: the run could not be carried out or compared.
        """
        if self._fault is not None:
            raise self._fault
        if self._report is None:
            self._report = self._gate()
        return next(c for c in self._report.checks if (c.kind, c.name) == which)

    def _gate(self) -> GateReport:
        from rich.console import Console

        from latentbench.analysis.gate.gate import gate
        from latentbench.analysis.gate.gate_report import GateSettings
        from latentbench.kernel.errors import BenchError

        option = self.config.getoption
        delta = option("--latentbench-delta")
        try:
            report, _ = gate(
                option("--latentbench-run"),
                self.path,
                GateSettings() if delta is None else GateSettings(delta=delta),
                Console(quiet=True),
                cache=option("--latentbench-cache"),
                offline=option("--latentbench-offline"),
            )
        except BenchError as e:
            self._fault = GateError(str(e))
            raise self._fault from e
        return report


class GateItem(pytest.Item):
    """One check."""

    def __init__(self, *, check: tuple[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name = check[1]
        self._which = check
        self._check: Check | None = None

    def setup(self) -> None:
        """Have the check made; what keeps it from being made is an error of the setup, which pytest counts apart."""
        from latentbench.analysis.gate.gate_formats import outcome

        collector = self.parent
        assert isinstance(collector, GateCollector)
        self._check = collector.check(self._which)
        if outcome(self._check) == "error":
            raise GateError(self._check.message)

    def runtest(self) -> None:
        """Pass, fail or skip."""
        from latentbench.analysis.gate.gate_formats import outcome

        assert self._check is not None
        match outcome(self._check):
            case "failure":
                raise GateFailure(self._check.message)
            case "skipped":
                pytest.skip(self._check.message)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """One line instead of a traceback."""
        if isinstance(excinfo.value, GateFailure | GateError):
            return f"{self._name}: {excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Tell pytest where the test is from."""
        return self.path, None, self.name
