"""How many to take of each group, so that groups are drawn from as evenly as their sizes allow."""

from __future__ import annotations


def spread(asked: int, room: list[int]) -> list[int]:
    """Share `asked` as evenly as the room in each bin allows; what does not divide goes to the last (strongest) bins."""
    quota = [0] * len(room)
    left = min(asked, sum(room))
    while left:
        open_bins = [b for b in reversed(range(len(room))) if quota[b] < room[b]]
        each = max(left // len(open_bins), 1)
        for b in open_bins:
            give = min(each, room[b] - quota[b], left)
            quota[b] += give
            left -= give
    return quota
