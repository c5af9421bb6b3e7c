"""When what is asked: everything of a run at once, as far as its texts are there and its judges take it.

Nothing waits for a stage. A unit is judged as soon as its explanation is there; an explainer that reads others waits for all of
their texts and for nothing else; all judges are asked at the same time. Stages one after another are the tempting way, and
leave an endpoint idle at the end of each batch, explainer and scorer, until its slowest call is back.

Two kinds of judges are fed in two ways. One that is sent single requests (`chunk` is 1) gives the same reply whatever is asked
beside it, so its units go off one by one, in the order in which their texts come, as many as `in_flight` batches hold. The
numbers of one that computes batches depend on what is in a batch, by rounding (docs/numbers.md), and on what it kept from the
one before. So each such judge gets what it would get if it were alone, in an order that no clock decides: explainers, then scorer
by scorer, cell by cell, latent by latent. It waits where the next text is not there yet; taking another one that is would make
two runs of one spec differ. Judges that share a member with a panel are one in this.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence

from rich.console import Console

from latentbench.judges.judge import Judge
from latentbench.kernel.requests import Capability
from latentbench.panels.panel_judge import asked
from latentbench.runs.explaining import CHUNK, Explanations, chunks, explain
from latentbench.runs.journal import ExplainedUnit, Journal, JudgedUnit
from latentbench.runs.judging import BATCH, Unit, judge, unit
from latentbench.runs.keeping import Keeper
from latentbench.runs.plan import Cell, Plan
from latentbench.runs.stock import UnitStock
from latentbench.runs.tally import RunTally, Work
from latentbench.views.stages import Stages

Pair = tuple[str, int]
"""Label of an explainer, and repeat."""


class _TextOrder:
    """The order in which the texts of one explainer and repeat come, by places of latents in the plan."""

    def __init__(self, there: list[int], total: int) -> None:
        self.there, self.total = there, total
        self._news = asyncio.Event()

    def add(self, places: Sequence[int]) -> None:
        """These have come."""
        self.there += places
        self._news.set()
        self._news = asyncio.Event()

    async def more(self, known: int) -> None:
        """Wait until there are more than so many."""
        while len(self.there) <= known < self.total:
            await self._news.wait()

    async def all(self) -> None:
        """Wait for the last one."""
        await self.more(self.total - 1)


class _Room:
    """How many requests are under way at a judge; whoever comes where it is full waits."""

    def __init__(self, most: int) -> None:
        self._most, self._under_way, self._free = most, 0, asyncio.Event()

    async def take(self, n: int) -> None:
        """Wait for room, and take so much of it, which may be more than there is."""
        while self._under_way >= self._most:
            self._free.clear()
            await self._free.wait()
        self._under_way += n

    def give(self, n: int) -> None:
        """Give it back."""
        self._under_way -= n
        self._free.set()


class Flow:
    """One session of a run.

    Args:
        explanations, judgements: where units are appended.
        done, judged: what is on disk; the first grows.
    """

    def __init__(
        self,
        plan: Plan,
        explanations: Journal[ExplainedUnit],
        judgements: Journal[JudgedUnit],
        done: Explanations,
        judged: UnitStock,
        keeper: Keeper,
        tally: RunTally,
    ) -> None:
        self.plan, self.done, self.judged, self.keeper, self.tally = plan, done, judged, keeper, tally
        self._explanations, self._judgements = explanations, judgements
        self._texts: dict[Pair, _TextOrder] = {}
        self._stages: Stages

    async def run(self, console: Console) -> None:
        """Ask everything that is owed and append it to the journals."""
        plan, total = self.plan, len(self.plan.ids)
        for label in plan.explainers:
            for repeat in range(plan.spec.repeats):
                mine = self.done.setdefault((label, repeat), {})
                there = [place for place, latent in enumerate(plan.ids) if latent in mine]
                self._texts[label, repeat] = _TextOrder(there, total)
        with Stages(console, self.tally.standing) as self._stages:
            for label in plan.explainers:
                self._stage((label,), f"explain {label}")
            for scorer, name in dict.fromkeys((c.scorer, c.judge) for c in plan.cells):
                self._stage((scorer, name), f"judge {scorer} · {name}")
            async with asyncio.TaskGroup() as group:
                for label in plan.explainers:
                    if label not in plan.models:
                        group.create_task(self._tell(label))
                for labels in _together(plan):
                    alone = all(_one_by_one(plan.judges[label]) for label in labels)
                    group.create_task(self._at_once(labels) if alone else self._in_order(labels))

    def _stage(self, work: Work, name: str) -> None:
        part = self.tally.part(work)
        if part.stored < part.units:
            self._stages.add(work, name, part.units, "latents", part.stored)

    async def _tell(self, label: str) -> None:
        """An explainer that asks nobody."""
        for repeat in range(self.plan.spec.repeats):
            await self._sources(label, repeat)
            for places in chunks(self._owed(label, repeat), CHUNK):
                await self._explain(label, repeat, places)
                await asyncio.sleep(0)

    async def _sources(self, label: str, repeat: int) -> None:
        for source in self.plan.explainers[label].after:
            await self._texts[source, repeat].all()

    def _owed(self, label: str, repeat: int) -> list[int]:
        there = set(self._texts[label, repeat].there)
        return [place for place in range(len(self.plan.ids)) if place not in there]

    async def _explain(self, label: str, repeat: int, places: Sequence[int]) -> None:
        latents = [self.plan.latents[place] for place in places]
        stage = self._stages[label,]
        await explain(self.plan, label, repeat, latents, self.done, self._explanations, self.keeper, stage, self.tally)
        self._texts[label, repeat].add(places)

    async def _judge(self, units: Sequence[Unit]) -> None:
        cell = units[0].cell
        stage = self._stages[cell.scorer, cell.judge]
        await judge(self.plan, units, self._judgements, self.keeper, stage, self.tally)

    # One by one: whatever is there, as much as there is room for.

    async def _at_once(self, labels: Sequence[str]) -> None:
        plan, room = self.plan, _Room(BATCH * min(own.in_flight for own in self._judges(labels)))
        async with asyncio.TaskGroup() as group:
            for label, model in plan.models.items():
                if model in labels:
                    for repeat in range(plan.spec.repeats):
                        group.create_task(self._explain_at_once(label, repeat, room, group))
            by_text: dict[Pair, list[Cell]] = defaultdict(list)
            for cell in plan.cells:
                if cell.judge in labels:
                    by_text[cell.explainer, cell.repeat].append(cell)
            for pair, cells in by_text.items():
                group.create_task(self._judge_at_once(pair, cells, room, group))

    async def _explain_at_once(self, label: str, repeat: int, room: _Room, group: asyncio.TaskGroup) -> None:
        async def one(place: int) -> None:
            try:
                await self._explain(label, repeat, [place])
            finally:
                room.give(1)

        await self._sources(label, repeat)
        for place in self._owed(label, repeat):
            await room.take(1)
            group.create_task(one(place))
            await asyncio.sleep(0)

    async def _judge_at_once(self, pair: Pair, cells: Sequence[Cell], room: _Room, group: asyncio.TaskGroup) -> None:
        async def one(own: Unit, n: int) -> None:
            try:
                await self._judge([own])
            finally:
                room.give(n)

        texts = self._texts[pair]
        for number in range(texts.total):
            await texts.more(number)
            place = texts.there[number]
            for cell in cells:
                if (cell.id, self.plan.ids[place]) not in self.judged:
                    own = unit(self.plan, cell, self.plan.latents[place], self.done)
                    await room.take(own.asking)
                    group.create_task(one(own, own.asking))
                    await asyncio.sleep(0)

    # In order: what it would get if it were alone.

    async def _in_order(self, labels: Sequence[str]) -> None:
        plan, slots = self.plan, asyncio.Semaphore(min(own.in_flight for own in self._judges(labels)))

        async def explained(label: str, repeat: int, places: Sequence[int]) -> None:
            try:
                await self._explain(label, repeat, places)
            finally:
                slots.release()

        async def judged(batch: Sequence[Unit]) -> None:
            try:
                await self._judge(batch)
            finally:
                slots.release()

        async with asyncio.TaskGroup() as group:
            for label, model in plan.models.items():
                for repeat in range(plan.spec.repeats) if model in labels else ():
                    await self._sources(label, repeat)
                    for places in chunks(self._owed(label, repeat), CHUNK):
                        await slots.acquire()
                        group.create_task(explained(label, repeat, places))
            for scorer, name in dict.fromkeys((c.scorer, c.judge) for c in plan.cells if c.judge in labels):
                async for batch in self._batches([c for c in plan.cells if (c.scorer, c.judge) == (scorer, name)]):
                    await slots.acquire()
                    group.create_task(judged(batch))

    async def _batches(self, cells: Sequence[Cell]) -> AsyncIterator[list[Unit]]:
        batch: list[Unit] = []
        size = 0
        for cell in cells:
            mine, texts = self.done[cell.explainer, cell.repeat], self._texts[cell.explainer, cell.repeat]
            for place, latent in enumerate(self.plan.ids):
                while latent not in mine:
                    await texts.more(len(texts.there))
                if (cell.id, latent) in self.judged:
                    continue
                batch.append(unit(self.plan, cell, self.plan.latents[place], self.done))
                size += batch[-1].asking
                if size >= BATCH:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch

    def _judges(self, labels: Sequence[str]) -> list[Judge]:
        return [self.plan.judges[label] for label in labels]


def _one_by_one(judge: Judge) -> bool:
    """Whether a reply never depends on what is asked beside it. A judge that measures activations computes these in batches."""
    parts = asked([judge])
    return all(part.chunk == 1 and Capability.ACTIVATE not in part.can for part in parts)


def _together(plan: Plan) -> list[list[str]]:
    """Labels of judges, in groups that have no judge in common."""
    groups: list[tuple[list[str], set[int]]] = []
    for label, own in plan.judges.items():
        labels, parts = [label], {id(part) for part in asked([own])}
        for other in [group for group in groups if group[1] & parts]:
            groups.remove(other)
            labels, parts = other[0] + labels, other[1] | parts
        groups.append((labels, parts))
    return [labels for labels, _ in groups]
