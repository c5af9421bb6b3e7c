"""The page on which people rate explanations, sent to this machine only, and the one address that takes a rating.

Whoever writes has to know a token that stands in the address and is new in every session, come from this page (`Origin`), and
name an item that the server has drawn; nothing from the page becomes a path. Trusting the loopback address is the tempting way:
every page that is open in the same browser can send to it.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from urllib.parse import unquote

from latentbench.analysis.people.given_rating import NAME, PAIR, SCALE, GivenRating, pair_rating
from latentbench.analysis.people.rated_item import RatedItem, is_turned, order_for
from latentbench.analysis.people.rating_store import RatingSession
from latentbench.kernel.errors import BenchError
from latentbench.kernel.inputs import Unusable, parse_json
from latentbench.site.data_file import plain_data
from latentbench.site.latent_data import ShownWindow, shown_window
from latentbench.site.loopback import LoopbackHandler, LoopbackServer

PAGE = "rate.html"
ASSETS = {PAGE: "text/html", "rate.js": "text/javascript", "rate.css": "text/css", "app.css": "text/css"}
PRIVATE = {"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
"""Headers of every answer: the address has a token in it, and a frame could have its keys pressed by another page."""
MOST = 4096
"""Bytes of a request that gives a rating."""


@dataclass(frozen=True, slots=True)
class AskedItem:
    """An item as a rater sees it: no latent, no hash, no explainer, no score.

    Attributes:
        texts: in the order of this rater.
        answer: what the rater has said; of a pair 1 for the first text shown, -1 for the second.
    """

    id: str
    texts: tuple[str, ...]
    windows: tuple[ShownWindow, ...]
    scale: float
    answer: int | None


@dataclass(frozen=True, slots=True)
class AskedSession:
    """What the page gets when a rater has said a name."""

    rater: str
    task: str
    items: tuple[AskedItem, ...]


class RatingDesk:
    """Asks items of raters and writes down what they say.

    Args:
        items: as `rated_items` draws them, of one task.
        session: where ratings go.
        seed: of orders and sides.
    """

    def __init__(self, items: Sequence[RatedItem], session: RatingSession, seed: int = 0) -> None:
        self._items, self._session, self._seed = {item.id: item for item in items}, session, seed
        self._lock = threading.Lock()

    def session_of(self, rater: str) -> AskedSession:
        """Every item in the rater's order, with what was said before."""
        with self._lock:
            said = self._session.of(rater)
        task = next(iter(self._items.values())).task
        items = order_for(list(self._items.values()), rater, self._seed)
        return AskedSession(rater, task, tuple(self._asked(item, rater, said) for item in items))

    def take(self, body: object) -> None:
        """Write down a rating.

        Raises:
            ValueError: it is none, or of an item that was not asked. DataError: it cannot be written.
        """
        if not isinstance(body, dict) or set(body) != {"rater", "item", "value", "seconds"}:
            raise ValueError("a rating has rater, item, value and seconds")
        item = self._items.get(body["item"]) if isinstance(body["item"], str) else None
        if item is None:
            raise ValueError("no such item")
        value, seconds = body["value"], body["seconds"]
        if type(value) is not int or isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise ValueError("value is a whole number and seconds a number")
        rater = body["rater"]
        if not isinstance(rater, str):
            raise ValueError("rater is a text")
        if item.task == SCALE:
            rating = GivenRating(rater, SCALE, item.latent, item.hashes[0], "", value, float(seconds), "page")
        else:
            better = -value if is_turned(item, rater, self._seed) else value
            rating = pair_rating(rater, item.latent, (item.hashes[0], item.hashes[1]), better, float(seconds), "page")
        with self._lock:
            self._session.add(rating)

    def _asked(self, item: RatedItem, rater: str, said: dict[tuple[str, str, str, str, str], GivenRating]) -> AskedItem:
        turned = is_turned(item, rater, self._seed)
        held = said.get((rater, item.task, item.latent, item.hashes[0], item.hashes[1] if item.task == PAIR else ""))
        answer = None if held is None else -held.value if turned else held.value
        scale = max((w.max for w in item.windows), default=0.0)
        texts = item.texts[::-1] if turned else item.texts
        return AskedItem(item.id, texts, tuple(map(shown_window, item.windows)), scale, answer)


class RatingServer(LoopbackServer):
    """Sends the page to this machine and takes ratings from it.

    Args:
        port: 0 for any that is free.

    Raises:
        DataError: the port is taken.
    """

    def __init__(self, desk: RatingDesk, port: int = 0) -> None:
        self.desk, self.token = desk, secrets.token_urlsafe(18)
        self.assets = {n: (files("latentbench.site") / "built" / n).read_text(encoding="utf-8") for n in ASSETS}
        super().__init__(port, _RatingHandler)

    @property
    def address(self) -> str:
        """Where the page is; whoever has it may rate."""
        return f"{super().address}{self.token}/"


class _RatingHandler(LoopbackHandler):
    server: RatingServer

    def do_GET(self) -> None:  # noqa: N802 (the name that http.server looks for)
        """Send the page, or the items of a rater."""
        name = self._name()
        if name is None:
            return
        if name.startswith("session/"):
            rater = unquote(name.removeprefix("session/"))
            if not NAME.fullmatch(rater):
                self._answer(400, "A name has at most 40 letters, digits, spaces, dots and hyphens.\n")
                return
            found = json.dumps(plain_data(self.server.desk.session_of(rater)), allow_nan=False)
            self._answer(200, found, "application/json")
        elif (name or PAGE) in ASSETS:
            self._answer(200, self.server.assets[name or PAGE], ASSETS[name or PAGE])
        else:
            self._answer(404, "There is no such file.\n")

    def do_POST(self) -> None:  # noqa: N802 (the name that http.server looks for)
        """Take a rating."""
        name = self._name()
        if name is None:
            return
        origins = {f"http://{host}" for host in self.server.hosts}
        if name != "rating" or self.headers.get("Origin") not in origins:
            self._answer(403, "Ratings are taken from this server's own page only.\n")
            return
        if self.headers.get("Content-Type") != "application/json":
            self._answer(415, "A rating is JSON.\n")
            return
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or len(length) > 9 or int(length) > MOST:
            self._answer(413, "This is longer than a rating.\n")
            return
        try:
            self.server.desk.take(parse_json(self.rfile.read(int(length))))
        except (Unusable, ValueError) as e:
            self._answer(400, f"{e}\n")
        except BenchError as e:
            self._answer(500, f"{e}\n")
        else:
            self._answer(200, "{}", "application/json")

    def _name(self) -> str | None:
        """What is asked for behind the token; None after an answer that refuses it."""
        if self.refused():
            return None
        token, slash, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            self._answer(404, "Open the address that `bench rate` printed.\n")
            return None
        return name

    def _answer(self, status: int, text: str, kind: str = "text/plain") -> None:
        self.send(status, text.encode("utf-8", "replace"), kind, PRIVATE)
