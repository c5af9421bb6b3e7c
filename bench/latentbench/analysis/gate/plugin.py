"""`pytest --latentbench-baseline FILE`: every check of the gate as a test.

The tests are known from the baseline alone, so `--collect-only`, `-k` and a dashboard see the same names whatever the run does.
The run itself is made once, when the first of them is set up. A check that cannot be made is an error, not a failure; what an
inconclusive one is, the policy says, as it does for the exit code of `bench gate` and for JUnit.

pytest imports this module in every session in which the package is installed, so it imports nothing of the package at the top.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from latentbench.analysis.gate.gate_report import Check, GateReport, GateSettings
    from latentbench.analysis.gate.policy import State


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
    group.addoption(
        "--latentbench-inconclusive",
        choices=("fail", "skip", "pass"),
        default="fail",
        help="What a check that is not decided is; fail by default, as `bench gate` then stops.",
    )
    group.addoption("--latentbench-cache", type=Path, metavar="FILE", help="Reply cache of the run.")
    group.addoption(
        "--latentbench-offline", action="store_true", help="Do not ask the judges whether they have changed."
    )
    group.addoption(
        "--latentbench-allow-endpoints",
        action="store_true",
        help="Ask endpoints that the baseline or the run names, also those that are not on your own list.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the tests; first of all plugins, so that `-k` and `-m` see them."""
    baseline = config.getoption("--latentbench-baseline")
    if baseline is not None:
        collector: Any = GateCollector.from_parent(session, path=Path(baseline).absolute())
        items.extend(collector.collect())


class GateCollector(pytest.File):
    """A baseline as a file of tests; holds the one report that all of them read."""

    _report: GateReport | None = None
    _fault: str = ""

    def collect(self) -> Generator[pytest.Item]:
        """One test per check."""
        from latentbench.analysis.gate.baseline import read_baseline
        from latentbench.analysis.gate.verdicts import planned
        from latentbench.kernel.errors import BenchError
        from latentbench.views.escape import line, lines

        try:
            self._settings()
            checks = planned(read_baseline(self.path))
        except BenchError as e:
            raise pytest.UsageError(lines(f"--latentbench-baseline: {e}")) from e
        for kind, name in checks:
            yield GateItem.from_parent(self, name=line(f"{kind}[{name}]"), check=(kind, name))

    def check(self, which: tuple[str, str]) -> Check:
        """The verdict on one check, by kind and name, from the report that the first call makes; fails if there is none."""
        if self._report is None and not self._fault:
            self._report = self._gate()
        if self._report is None:
            _fail(self._fault)
        found = next((c for c in self._report.checks if (c.kind, c.name) == which), None)
        return found or _fail("the gate made no such check")

    def _gate(self) -> GateReport | None:
        from rich.console import Console

        from latentbench.analysis.gate.gate import gate
        from latentbench.kernel.errors import BenchError

        option = self.config.getoption
        try:
            report, _ = gate(
                option("--latentbench-run"),
                self.path,
                self._settings(),
                Console(quiet=True),
                cache=option("--latentbench-cache"),
                offline=option("--latentbench-offline"),
                allow_endpoints=option("--latentbench-allow-endpoints"),
            )
        except BenchError as e:
            self._fault = str(e)
            return None
        return report

    def _settings(self) -> GateSettings:
        from latentbench.analysis.gate.gate_report import GateSettings

        delta = self.config.getoption("--latentbench-delta")
        return GateSettings() if delta is None else GateSettings(delta=delta)


class GateItem(pytest.Item):
    """One check."""

    def __init__(self, *, check: tuple[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name = check[1]
        self._which = check
        self._check: Check | None = None

    def setup(self) -> None:
        """Have the check made; what keeps it from being made is an error of the setup, which pytest counts apart."""
        from latentbench.analysis.gate.policy import State

        collector = self.parent
        assert isinstance(collector, GateCollector)
        self._check = collector.check(self._which)
        if self._state() is State.ERROR:
            _fail(f"{self._name}: {self._check.message}")

    def runtest(self) -> None:
        """Pass, fail or skip."""
        from latentbench.analysis.gate.policy import State
        from latentbench.views.escape import line

        assert self._check is not None
        match self._state():
            case State.FAILURE:
                _fail(f"{self._name}: {self._check.message}")
            case State.SKIPPED:
                pytest.skip(line(self._check.message))

    def _state(self) -> State:
        from latentbench.analysis.gate.policy import Inconclusive

        assert self._check is not None
        return self._check.state(Inconclusive(self.config.getoption("--latentbench-inconclusive")))

    def reportinfo(self) -> tuple[Path, None, str]:
        """Tell pytest where the test is from."""
        return self.path, None, self.name


def _fail(message: str) -> NoReturn:
    """Fail with a message and no traceback, which would be one through this plugin; in a setup that is an error."""
    from latentbench.views.escape import lines

    pytest.fail(lines(message), pytrace=False)
