"""A run as a folder for the Hugging Face hub: Parquet tables and a dataset card.

The licence is left to whoever uploads: what a suite's text allows is nothing that this program knows. Texts in the card are
escaped like every text from outside.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import yaml

from latentbench.exchange.exported_run import ExportedRun
from latentbench.kernel.files import write_text
from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, SCORES, read_table, write_table
from latentbench.leaderboards.board import tables
from latentbench.leaderboards.board_page import board_page
from latentbench.leaderboards.row import rows
from latentbench.views import escape

TABLES = {"explanations": EXPLANATIONS, "judgements": JUDGEMENTS, "scores": SCORES}


def write_hub(exported: ExportedRun, folder: Path) -> None:
    """Write the tables and the card."""
    exported.note("hf: the card states no licence; add `license:` to its front matter before you upload.")
    run = exported.run
    for name, schema in TABLES.items():
        table = read_table(run.folder / f"{name}.parquet", schema, run.record.tables.get(name)).select(schema.names)
        kept = pa.array([label in exported.chosen for label in table["explainer"].to_pylist()], pa.bool_())
        write_table(table.filter(kept), folder / f"{name}.parquet")
    write_text(folder / "README.md", _card(exported))


def _card(exported: ExportedRun) -> str:
    record = exported.run.record
    configs = [
        {"config_name": name, "data_files": f"{name}.parquet", **({"default": True} if name == "explanations" else {})}
        for name in TABLES
    ]
    front = yaml.safe_dump(
        {
            "pretty_name": f"Explanations of latents, run {escape.seen(record.id)}",
            "tags": ["interpretability", "sparse-autoencoders", "latentbench"],
            "configs": configs,
        },
        sort_keys=False,
        allow_unicode=True,
    )
    ranked = [row for row in rows([exported.run], any_split=True) if row.explainer.label in exported.chosen]
    board = board_page(tables(ranked, "intervals")).markdown()
    told = [
        f"- suite: {escape.markdown(record.suite.id)}, digest `{record.suite.digest}`, split {record.split}",
        f"- subject: {escape.markdown(exported.subject or 'not said by the suite')}",
        f"- latents: {len(record.latents)}, repeats: {record.spec.repeats}, seed: {record.spec.seed}",
        f"- made by: {escape.markdown_code(record.command)}",
    ]
    return "\n".join(
        [
            "---",
            "# The licence is yours to state, before you upload: license: ...",
            front.rstrip(),
            "---",
            "",
            f"# Explanations of latents, run {escape.markdown(record.id)}",
            "",
            "Natural-language explanations of latents, and what judges made of them.",
            "",
            *told,
            "",
            "Scores compare with scores of the same suite digest, scorer version and judge, and with nothing else. Floors know",
            "nothing of the latent; what does not beat them has shown nothing.",
            "",
            board,
        ]
    )
