"""Detection: does a window activate the latent, judged from the explanation alone (arXiv 2410.13928, 3.3.1).

Windows are shown without marks. Everything that this method shares with fuzzing stands in `binary_task`.
"""

from __future__ import annotations

from latentbench.scorers.binary_task import BinaryTask


class Detection(BinaryTask):
    """Yes or no per window; see `BinaryTask`."""
