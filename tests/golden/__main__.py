"""Writes golden files.

python -m tests.golden --write            writes the files that are missing
python -m tests.golden --write --force    overwrites those that differ: only for a version that was never published
"""

from __future__ import annotations

import argparse

from tests.builders.golden_contents import contents, text_of
from tests.builders.golden_file import write


def main() -> None:
    """Write what is missing."""
    parser = argparse.ArgumentParser(
        description="Golden files: what every scorer, explainer and judge reader asks and reads."
    )
    parser.add_argument("--write", action="store_true", help="write the files that are missing")
    parser.add_argument("--force", action="store_true", help="overwrite files that differ")
    parser.add_argument("names", nargs="*", help="paths such as judges/openai.json; all by default")
    given = parser.parse_args()
    for name in given.names or contents():
        if given.write:
            print(write(name, text_of(name), given.force))
        else:
            print(name)


if __name__ == "__main__":
    main()
