"""`python -m bench`: the same as the `bench` command."""

from __future__ import annotations

from bench.cli import main

main()
