"""Which number type, and how many layers, a simulator should compute in: quality against windows per second, on exams.

For each latent of an exam the simulator judges the same windows given the truth and given each near miss; quality is how often
the truth has the higher AUROC (a tie counts half), paired over variants, and the agreement with float32 is the correlation of
all probabilities. Windows per second are of the same questions, all variants in turns. Timing one variant after the other is
shorter, and on a shared machine it measures who else was there.

    python benchmarks/judge_compute.py --latents 24 --out docs/figures/judge-compute

Variants: float32, bfloat16, 8-bit linear layers with dynamic activations (`torch.ao.quantization`), and early exit: the heads
read fewer of the base's layers than they were trained on. int8 and early exit are no parameters of the judge: they are here to
be measured.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from latentbench.judges.simulator import lora
from latentbench.judges.simulator.artifact import load
from latentbench.judges.simulator.reader import SimulatedWindow, SimulatorWindow
from latentbench.judges.simulator.simulator_judge import SimulatorJudge, SimulatorParams
from latentbench.kernel.latent import LatentView
from latentbench.kernel.tasks import find
from latentbench.prompts import selection
from latentbench.stats.bootstrap import Interval, bootstrap_mean, paired_difference
from latentbench.stats.ranking import auroc
from latentbench.suites.store import load_suite

SIMULATOR = "smollm2-135m"
EXAMS = ("planted-2", "exam-gold")
ROUND = 192
"""Questions that are timed, of the first exam."""


@dataclass
class Variant:
    """A simulator and what was measured of it: probabilities by question, and seconds per round."""

    judge: SimulatorJudge
    found: dict[SimulatorWindow, float] = field(default_factory=dict)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def read(self, asked: list[SimulatorWindow]) -> None:
        """Ask, and keep what was said."""
        for question, said in zip(asked, self.judge.reader.read(asked, threading.Event()), strict=True):
            if isinstance(said, SimulatedWindow):
                self.found[question] = said.window


def plain(dtype: Literal["float32", "bfloat16"]) -> SimulatorJudge:
    """The simulator as it is used."""
    return SimulatorJudge(SIMULATOR, SimulatorParams(dtype=dtype))


def eight_bits() -> SimulatorJudge:
    """Linear layers of the base in 8 bits, per output channel; activations are quantised per tensor as they come."""
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    judge = plain("float32")
    quantize_dynamic(judge.reader.engine.model, {torch.nn.Linear: per_channel_dynamic_qconfig}, inplace=True)
    return judge


def early(layers: int) -> SimulatorJudge:
    """The heads on an earlier layer, without more training, in bfloat16."""
    judge = plain("bfloat16")
    loaded = judge.reader.engine.loaded
    lora.truncate(loaded.model, layers)
    judge.reader = judge._reader(load(find("judges", SIMULATOR)), loaded)
    return judge


VARIANTS: dict[str, Callable[[], SimulatorJudge]] = {
    "float32": lambda: plain("float32"),
    "bfloat16": lambda: plain("bfloat16"),
    "int8": eight_bits,
    "18 of 20 layers": lambda: early(18),
    "16 of 20 layers": lambda: early(16),
}


@dataclass(frozen=True)
class Sheet:
    """The questions about one latent: the truth's text, the near misses', windows, and which of them are active."""

    truth: str
    near: tuple[str, ...]
    windows: tuple[tuple[str, ...], ...]
    active: tuple[int, ...]

    def asked(self) -> list[SimulatorWindow]:
        """Every text with every window."""
        return [SimulatorWindow(text, w) for text in (self.truth, *self.near) for w in self.windows]

    def won(self, found: dict[SimulatorWindow, float]) -> float:
        """Share of near misses below the truth by AUROC."""

        def score(text: str) -> float:
            return auroc(np.array(self.active), np.array([found[SimulatorWindow(text, w)] for w in self.windows]))

        mine = score(self.truth)
        return float(np.mean([(mine > other) + (mine == other) / 2 for other in map(score, self.near)]))


def sheet(latent: LatentView, windows: int) -> Sheet | None:
    """The questions about a latent, or None where it has no near miss or one kind of windows only."""
    truth = json.loads(str(latent.row["truth"]))
    near = tuple(str(text) for text in truth["near"].values())
    active = [w for w in selection.positives(latent, windows, 0) if w.text]
    silent = [w for w in selection.negatives(latent, "random", windows, 0) if w.text]
    if not near or not active or not silent:
        return None
    shown = tuple(w.tokens for w in (*active, *silent))
    return Sheet(str(truth["truth"]), near, shown, (1,) * len(active) + (0,) * len(silent))


def sheets(exam: str, latents: int | None, windows: int) -> list[Sheet]:
    """The questions of an exam, over all its splits and evenly over its latents."""
    found = [s for s in (sheet(v, windows) for v in load_suite(exam).latents()) if s is not None]
    if latents is None or latents >= len(found):
        return found
    return [found[i] for i in np.linspace(0, len(found) - 1, latents).round().astype(int)]


def timed(variants: dict[str, Variant], asked: list[SimulatorWindow], rounds: int) -> None:
    """Seconds of every variant on the same questions, in turns."""
    for _ in range(rounds):
        for variant in variants.values():
            cpu, wall = time.process_time(), time.perf_counter()
            variant.judge.reader.read(asked, threading.Event())
            variant.wall.append(time.perf_counter() - wall)
            variant.cpu.append(time.process_time() - cpu)


def drawn(rows: list[tuple[str, str, float, Interval]], out: Path) -> None:
    """Quality against windows per second of processor time, one panel an exam."""
    from latentbench.views import figure

    exams = list(dict.fromkeys(exam for exam, *_ in rows))
    with figure.styled():
        drawing, axes = figure.panels(len(exams))
        for axis, exam in zip(axes, exams, strict=True):
            for i, (_, name, speed, share) in enumerate(r for r in rows if r[0] == exam):
                bars = [[share.estimate - share.low], [share.high - share.estimate]]
                axis.errorbar([speed], [share.estimate], yerr=bars, fmt="o", color=f"C{i}", label=name, capsize=2)
            axis.axhline(0.5, lw=0.6, ls=":", color="0.5")
            axis.set(title=f"{exam}, n={next(r[3].n for r in rows if r[0] == exam)}", xlabel="windows per CPU second")
        axes[0].set_ylabel("truth above near miss")
        figure.legend_above(drawing, axes)
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.write(drawing, out)


def main() -> None:
    """Measure, print a table, draw."""
    given = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    given.add_argument("--exam", action="append", help="suite, by name or folder; planted-2 and exam-gold by default")
    given.add_argument("--latents", type=int, help="latents per exam, evenly; all by default")
    given.add_argument("--windows", type=int, default=4, help="active windows per latent, and as many silent ones")
    given.add_argument("--rounds", type=int, default=5)
    given.add_argument("--out", type=Path, help="figure, without suffix")
    args = given.parse_args()
    warnings.simplefilter("ignore")
    exams = {exam: sheets(exam, args.latents, args.windows) for exam in args.exam or EXAMS}
    variants = {name: Variant(make()) for name, make in VARIANTS.items()}
    first = list(dict.fromkeys(q for s in next(iter(exams.values())) for q in s.asked()))[:ROUND]
    timed(variants, first, args.rounds)
    rows: list[tuple[str, str, float, Interval]] = []
    for exam, of in exams.items():
        asked = list(dict.fromkeys(q for s in of for q in s.asked()))
        print(f"\n{exam}: {len(of)} latents, {len(asked)} questions", flush=True)
        print(
            "| variant | windows / CPU s | CPU s of float32 | truth > near | less float32 | r with float32 | mean difference |"
        )
        print("|---|---:|---:|---:|---:|---:|---:|")
        base: dict[SimulatorWindow, float] = {}
        plain_wins: list[float] = []
        for name, variant in variants.items():
            variant.read(asked)
            base = base or variant.found
            wins = [s.won(variant.found) for s in of]
            plain_wins = plain_wins or wins
            share = bootstrap_mean(wins, seed=0, low=0.0, high=1.0)
            gap = paired_difference(wins, plain_wins, range(len(wins)), seed=0, span=2.0).interval
            p, q = (np.array([found[a] for a in asked]) for found in (variant.found, base))
            speed = len(first) / min(variant.cpu)
            ratio = np.median(np.array(variant.cpu) / np.array(variants["float32"].cpu))
            rows.append((exam, name, speed, share))
            print(
                f"| {name} | {speed:.1f} | {ratio:.2f} | {share.estimate:.3f} [{share.low:.3f}, {share.high:.3f}] | "
                f"{gap.estimate:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] | {np.corrcoef(p, q)[0, 1]:.4f} | "
                f"{np.abs(p - q).mean():.4f} |",
                flush=True,
            )
    if args.out:
        drawn(rows, args.out)


if __name__ == "__main__":
    main()
