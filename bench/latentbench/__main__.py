"""`python -m latentbench`: the same as the `bench` command."""

from __future__ import annotations

from latentbench.cli import main

main()
