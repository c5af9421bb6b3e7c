"""Many things are worked on at once, where each of them waits for a server.

A request to a tracking server is mostly waiting: for the network, and for a commit of its database. So requests that do not need
each other's answers are under way together. A local SQLite file has one writer, and its requests stay one after the other.

The threads are daemons and not an executor's, which Python waits for at its end: a stopped command would then stand still until a
server that has fallen silent is given up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Found = TypeVar("Found")
WIDTH = 8
"""Requests under way; MLflow's own pool has ten connections."""


def side_by_side(uri: str, work: Callable[[Item], Found], items: Iterable[Item]) -> list[Found]:
    """What `work` makes of each item, in their order.

    Args:
        uri: of the store that `work` writes to.

    Raises:
        Exception: the first that `work` raised; what was not begun by then is left.
    """
    todo = list(items)
    width = min(WIDTH, len(todo)) if uri.startswith("http") else 1
    if width <= 1:
        return [work(item) for item in todo]
    found: dict[int, Found] = {}
    faults: list[Exception] = []
    places = iter(range(len(todo)))
    turn, ended = threading.Lock(), threading.Event()

    def go_through() -> None:
        while not ended.is_set():
            with turn:
                place = next(places, None)
            if place is None:
                return
            try:
                found[place] = work(todo[place])
            except Exception as e:
                faults.append(e)
                ended.set()

    threads = [threading.Thread(target=go_through, name=f"mlflow-{i}", daemon=True) for i in range(width)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    finally:
        # An interruption ends the waiting here; the threads end after the request that they are in.
        ended.set()
    if faults:
        raise faults[0]
    return [found[place] for place in range(len(todo))]
