"""What a plan of any size costs, from constants measured here: `python benchmarks/cost_model.py` prints docs/scale.md's tables.

Every constant stands once, with the command or the work that gave it, in processor seconds of one core, because the machine was
shared. Costs are straight lines in what drives them; `CHECKS` are sizes that the constants were not taken from, with what was
predicted and what was measured. A fit through all sizes would be nearer to them and would say nothing about the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

CORE = "one core of an AMD EPYC with AVX-512 bfloat16, OMP_NUM_THREADS=1, 2026-11-28"


@dataclass(frozen=True)
class Constants:
    """Measured numbers; seconds are the processor's."""

    layer: float = 3.42e-5
    """Seconds a token and layer of the subject (SmolLM2-135M, bfloat16): what collection at 2,304 latents (8,192 tokens, 3.08 s)
    and 32,768 latents (4,096 tokens, 3.40 s) has in common, by 10 layers."""
    latent: float = 1.49e-8
    """Seconds a token and latent to encode (576 dimensions, float32, TopK), from the difference of the two."""
    entry_bytes: float = 6.0
    """Bytes of an activation in the store: position uint32 and value float16."""
    token_bytes: float = 4.0
    """Bytes of a token in the store."""
    latent_bytes: float = 8.0
    """Bytes of a latent in the store: where its entries begin."""
    draw: float = 4.61e-4
    """Seconds to draw the windows of a latent, whatever it fires: with the next two a plane through 1.338 ms (1 M tokens, 14,680
    entries), 2.575 ms (1 M tokens, 52,429 entries) and 0.680 ms (262,144 tokens, 3,670 entries), 100 latents each."""
    draw_entry: float = 3.28e-8
    """Seconds an activation of the latent to look through."""
    draw_token: float = 3.78e-10
    """Seconds a token of the corpus, in whose windows silence is looked for."""
    window: float = 4.6e-5
    """Seconds a window to put into tables and to write: 16, 42 and 80 microseconds at the three sizes above."""
    window_bytes: float = 132.0
    """Bytes of a window of 32 tokens in the files of a suite, at 1 M tokens (random tokens; text takes less)."""
    call_tokens: int = 511
    """Prompt tokens of a detection call with five windows of 32 tokens (`make beside-delphi`, lists here)."""
    reply_tokens: int = 16
    """Tokens of a list of five."""
    run_bytes: float = 93_306
    """Bytes of a run's folder beside its judgements; this and the next three from planted-1, explainers `tokens` and `empty`,
    detection and fuzzing by `mock:label`: 1,568 judgements (5.19 s, 155,164 bytes) and 4,756 (8.38 s, 280,931 bytes)."""
    judgement_bytes: float = 39.5
    """Bytes of a judgement there, its call and its texts included."""
    run: float = 3.62
    """Seconds of such a run beside its judgements: interpreter, plan, report."""
    judgement: float = 1.0e-3
    """Seconds of a judgement: planning, asking, journals, tables and scores, and no model."""
    input_dollars: float = 0.10
    """Dollars a million prompt tokens: gpt-4.1-nano in `judges/prices.yaml`."""
    output_dollars: float = 0.40
    """Dollars a million written tokens of the same."""


MEASURED = Constants()


@dataclass(frozen=True)
class Size:
    """A plan.

    Attributes:
        tokens, latents, layers, k: of collection: tokens of the corpus, width of a coder, coders, active latents a token.
        judged: latents that enter suites and runs.
        windows: of a latent in the suite.
        explainers, scored: explanations of a latent, and test windows that are judged for each.
    """

    tokens: int
    latents: int
    layers: int
    k: int = 32
    judged: int = 0
    windows: int = 240
    explainers: int = 1
    scored: int = 200


class Cost(NamedTuple):
    """A row: what, how much, unit."""

    what: str
    amount: float
    unit: str


def collection(size: Size, c: Constants = MEASURED, depth: int | None = None) -> list[Cost]:
    """Processor seconds and bytes of the activation store.

    Args:
        depth: layers of the subject that run; as many as coders by default.
    """
    seconds = size.tokens * (c.layer * (depth or size.layers) + c.latent * size.latents * size.layers)
    stored = (
        size.tokens * (c.token_bytes + size.k * size.layers * c.entry_bytes)
        + size.latents * size.layers * c.latent_bytes
    )
    return [Cost("collection", seconds, "s"), Cost("activation store", stored, "bytes")]


def suite(size: Size, c: Constants = MEASURED) -> list[Cost]:
    """Processor seconds and bytes of the suites of the judged latents."""
    entries = size.tokens * size.k / size.latents
    drawing = size.judged * (c.draw + c.draw_entry * entries + c.draw_token * size.tokens)
    return [
        Cost("drawing windows", drawing, "s"),
        Cost("tables of the suite", size.judged * size.windows * c.window, "s"),
        Cost("suite", size.judged * size.windows * c.window_bytes, "bytes"),
    ]


def run(size: Size, c: Constants = MEASURED) -> list[Cost]:
    """Calls, tokens, dollars, and what the run itself takes beside its judge."""
    judgements = size.judged * size.explainers * size.scored
    calls = judgements / 5
    dollars = calls * (c.call_tokens * c.input_dollars + c.reply_tokens * c.output_dollars) / 1e6
    return [
        Cost("judgements", judgements, ""),
        Cost("calls of five windows", calls, ""),
        Cost("prompt tokens", calls * c.call_tokens, ""),
        Cost("dollars at gpt-4.1-nano", dollars, "$"),
        Cost("the run beside its judge", c.run + judgements * c.judgement, "s"),
        Cost("run folder", c.run_bytes + judgements * c.judgement_bytes, "bytes"),
    ]


class Check(NamedTuple):
    """A size that no constant was taken from: what was done, what the model says, what it took."""

    what: str
    predicted: float
    measured: float
    unit: str


def checks(c: Constants = MEASURED) -> list[Check]:
    """Measured sizes beside what the model says of them."""
    collected, stored = (x.amount for x in collection(Size(8_192, 8_192, 1), c, depth=10))
    drawing, tables, files = (x.amount for x in suite(Size(1 << 21, 1_600, 1, judged=200), c))
    ran = run(Size(0, 1, 1, judged=1, scored=3_188), c)
    return [
        Check("collecting 8,192 tokens at 8,192 latents, 10 layers deep", collected, 3.74, "s"),
        Check("its store", stored, 1_673_801, "bytes"),
        Check("drawing 200 latents at 2 M tokens, firing on 2 % of them", drawing, 200 * 2.938e-3, "s"),
        Check("their tables", tables, 200 * 240 * 48.9e-6, "s"),
        Check("their suite", files, 200 * 240 * 133, "bytes"),
        Check("a run of 3,188 judgements by `mock:label`", ran[4].amount, 6.52, "s"),
        Check("its folder", ran[5].amount, 221_648, "bytes"),
    ]


def shown(amount: float, unit: str) -> str:
    """A number as a person reads it."""
    if unit == "s":
        for name, size in (("core days", 86_400.0), ("core hours", 3_600.0)):
            if amount >= size:
                return f"{amount / size:,.1f} {name}"
        return f"{amount:,.3g} s"
    if unit == "bytes":
        for name, power in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
            if amount >= power:
                return f"{amount / power:,.2f} {name}"
        return f"{amount:,.0f} bytes"
    return f"{unit}{amount:,.0f}"


WORKED = Size(10_000_000, 131_072, 42, judged=1_000_000)
"""10 M tokens through 42 layers with a coder of 131,072 latents at each; 1 M of the latents judged, one explanation each."""


def table() -> str:
    """The constants at work on the large plan, and the checks, as Markdown."""
    lines = ["| what | a plan of 10 M tokens x 131,072 latents x 42 layers, 1 M latents judged |", "|---|---:|"]
    for what, amount, unit in (*collection(WORKED), *suite(WORKED), *run(WORKED)):
        lines.append(f"| {what} | {shown(amount, unit)} |")
    lines += ["", f"Seconds are those of {CORE}.", ""]
    lines += ["| check | predicted | measured | error |", "|---|---:|---:|---:|"]
    for what, predicted, measured, unit in checks():
        off = 100 * (predicted / measured - 1)
        lines.append(f"| {what} | {shown(predicted, unit)} | {shown(measured, unit)} | {off:+.1f} % |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
