"""A checksum inside of a line of JSON, so that a bit that flipped on a disk is seen by whoever reads the line.

It stands as the last member of the object itself. A column or a file of checksums beside the data is the tempting way: programs
of an earlier version then write rows without them, and a kill between the two leaves one that does not fit. A member that nobody
asks for is read over by every version. This finds damage; whoever forges a line can seal it, too.
"""

from __future__ import annotations

import hashlib
import re
from enum import Enum

_END = re.compile(rb',"sum":"([0-9a-f]{16})"\}$')
_LENGTH = len(b',"sum":"') + 16 + len(b'"}')


class Seal(Enum):
    """What the end of a line says of the line."""

    WHOLE = "whole"
    BROKEN = "broken"
    NONE = "none"


def sealed(line: bytes, *about: bytes) -> bytes:
    """The line with its checksum.

    Args:
        line: JSON of an object that has members.
        about: what belongs to the line and stands elsewhere.
    """
    return b'%s,"sum":"%s"}' % (line[:-1], _sum(line[:-1], about))


def check(line: bytes, *about: bytes) -> Seal:
    """Whether a line is what was sealed; `NONE` where it has no checksum, as lines of earlier versions."""
    found = _END.search(line)
    if found is None:
        return Seal.NONE
    return Seal.WHOLE if _sum(line[:-_LENGTH], about) == found[1] else Seal.BROKEN


def _sum(body: bytes, about: tuple[bytes, ...]) -> bytes:
    h = hashlib.blake2b(body, digest_size=8)
    for part in about:
        h.update(b"\0%d\0" % len(part))
        h.update(part)
    return h.hexdigest().encode()
