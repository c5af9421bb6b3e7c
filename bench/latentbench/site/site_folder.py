"""Writing a site into a folder, and telling whether a folder still is what its tables give.

The folder is taken over whole: a file that the tables do not give is removed, for an old page that stays behind is shown by its
old address. A folder that holds something else is refused and not cleared.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from latentbench.kernel.errors import DataError
from latentbench.kernel.files import PART, write_text, writing
from latentbench.site.site_files import INDEX, File

MARK = "data/site.js"
"""What tells a site from another folder."""


@dataclass(frozen=True)
class WrittenSite:
    """A site that was written or compared.

    Attributes:
        files, size: how many files it has, and their bytes.
    """

    folder: Path
    files: int
    size: int

    @property
    def index(self) -> Path:
        """The page to open."""
        return self.folder / INDEX


def write_site(files: Iterable[File], folder: Path) -> WrittenSite:
    """Write the files of a site; what is there and not among them is removed.

    Raises:
        DataError: the folder holds something else than a site, or cannot be written.
    """
    old = set(_held(folder))
    if old and not (folder / MARK).is_file():
        raise DataError(
            f"{folder} holds {min(old)!r} and is no site. Name an empty folder, or one that does not exist."
        )
    # What is written through a link lies elsewhere, and is gone from the site when the link is removed.
    for name in [name for name in old if (folder / name).is_symlink()]:
        with writing(folder / name):
            (folder / name).unlink()
        old.discard(name)
    size, n = 0, 0
    for name, text in files:
        path = folder / name
        data = text.encode("utf-8")
        if not path.is_file() or path.read_bytes() != data:
            write_text(path, text)
        old.discard(name)
        size, n = size + len(data), n + 1
    for name in sorted(old):
        with writing(folder / name):
            (folder / name).unlink()
    return WrittenSite(folder, n, size)


def check_site(files: Iterable[File], folder: Path, again: str) -> WrittenSite:
    """Compare a folder with the files that it should hold, byte for byte.

    Args:
        again: the command that writes it, for the message.

    Raises:
        DataError: names the first file that differs, is missing, or is not of the site.
    """
    old = set(_held(folder))
    size, n = 0, 0
    for name, text in files:
        path, data = folder / name, text.encode("utf-8")
        if not path.is_file():
            raise DataError(f"{path} is missing. Write the site again: {again}")
        if path.read_bytes() != data:
            raise DataError(f"{path} is not what the tables give. Write the site again: {again}")
        old.discard(name)
        size, n = size + len(data), n + 1
    if old:
        raise DataError(f"{folder / min(old)} is not of the site. Write the site again: {again}")
    return WrittenSite(folder, n, size)


def _held(folder: Path) -> Iterable[str]:
    if not folder.is_dir():
        return
    for path in folder.rglob("*"):
        if (path.is_file() or path.is_symlink()) and not path.name.endswith(PART):
            yield path.relative_to(folder).as_posix()
