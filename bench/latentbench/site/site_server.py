"""A site on this machine's own address, which follows a run while it goes and shows the whole of it once it has ended.

Only names that a site can have are answered, from one folder, to whoever asks for this address by its name: a page of another
site that was given the address (DNS rebinding) asks for another host and gets nothing. Listening on all addresses is the tempting
way to show a run to a colleague, and shows it to everybody in the building; the written folder can be sent.
"""

from __future__ import annotations

import re
import threading
from pathlib import Path

from latentbench.kernel.errors import BenchError
from latentbench.site.data_file import data_file
from latentbench.site.live_data import live_run
from latentbench.site.loopback import LoopbackHandler, LoopbackServer
from latentbench.site.site_files import CSV, INDEX, JSON, SiteIndex, front_files, site_files
from latentbench.site.site_folder import write_site
from latentbench.site.site_target import SiteTarget

_NAMES = re.compile(r"data/(site|boards|live|walk-\d+|r\d+/[a-z]+(-\d+)?)\.js", re.ASCII)
_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".csv": "text/csv",
    ".json": "application/json",
}


class FollowedSite:
    """The files of a site, of a run that goes on as far as it is.

    Args:
        target: what is shown.
        folder: where the site is written once every run has ended.
        suite_folder: as in `site_files`.
    """

    def __init__(self, target: SiteTarget, folder: Path, suite_folder: Path | None = None) -> None:
        self._target, self._folder, self._suite = target, folder, suite_folder
        self._front = dict(front_files())
        self._lock = threading.Lock()
        self._written = False

    def read(self, name: str) -> bytes | None:
        """A file by its place in the site; None where there is none of that name.

        Raises:
            BenchError: the tables of a run that has ended cannot be read, or the site cannot be written.
        """
        if name in self._front:
            return self._front[name].encode("utf-8")
        if name not in (CSV, JSON) and not _NAMES.fullmatch(name):
            return None
        if name == "data/live.js":
            return data_file("live", [live_run(run) for run in self._target.runs]).encode("utf-8")
        if not self._written and self._target.going_on:
            index = SiteIndex(self._target.title, (), 0, 0, live=True)
            return data_file("site", index).encode("utf-8") if name == "data/site.js" else None
        self.write()
        path = self._folder / name
        return path.read_bytes() if path.is_file() else None

    def write(self) -> None:
        """Write the site, once."""
        with self._lock:
            if not self._written:
                write_site(site_files(self._target, self._suite), self._folder)
                self._written = True


class SiteServer(LoopbackServer):
    """Sends the files of a site to this machine.

    Args:
        site: what is sent.
        port: 0 for any that is free.

    Raises:
        DataError: the port is taken.
    """

    def __init__(self, site: FollowedSite, port: int = 0) -> None:
        self.site = site
        super().__init__(port, _Handler)


class _Handler(LoopbackHandler):
    server: SiteServer

    def do_GET(self) -> None:  # noqa: N802 (the name that http.server looks for)
        """Send a file."""
        if self.refused():
            return
        name = self.path.partition("?")[0].removeprefix("/") or INDEX
        try:
            found = self.server.site.read(name)
        except BenchError as e:
            self.send(500, f"{e}\n".encode("utf-8", "replace"))
            return
        if found is None:
            self.send(404, b"The site has no such file.\n")
        else:
            self.send(200, found, _TYPES.get(Path(name).suffix, "text/plain"))
