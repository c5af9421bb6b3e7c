"""The shell of every HTML page and its look: system fonts, dark on light, tabular numbers, one colour for real explainers and
grey for floors. No script, no network, so that a page can be mailed, archived and opened in ten years.
"""

from __future__ import annotations

from collections.abc import Sequence

from latentbench.views import escape

CSS = """
:root { --ink: #1b1f24; --soft: #5b6570; --line: #d9dee3; --wash: #f6f7f8; --mark: #1f5f99; --floor: #8a939c; --warn: #8a4b00; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; color: var(--ink);
  background: #fff; margin: 0 auto; max-width: 1240px; padding: 32px 24px 64px; font-variant-numeric: tabular-nums; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; font-weight: 650; }
h2 { font-size: 19px; margin: 40px 0 8px; padding-top: 12px; border-top: 1px solid var(--line); font-weight: 650; }
h3 { font-size: 16px; margin: 28px 0 2px; font-weight: 650; }
p { margin: 4px 0 10px; max-width: 78ch; }
.soft, caption { color: var(--soft); }
.soft { font-size: 13px; max-width: none; }
code, pre { font: 12.5px/1.45 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { background: var(--wash); padding: 1px 4px; border-radius: 3px; overflow-wrap: anywhere; }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: 4px; padding: 12px; overflow-x: auto;
  margin: 8px 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 8px 0 6px; width: 100%; font-size: 13.5px; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--ink); padding: 4px 10px 4px 0;
  vertical-align: bottom; }
td { border-bottom: 1px solid var(--line); padding: 5px 10px 5px 0; vertical-align: middle; }
th.n, td.n { text-align: right; }
td.n { white-space: nowrap; }
td.w { white-space: nowrap; }
tr.floor td { color: var(--floor); }
.tag { font-size: 11px; border: 1px solid var(--line); border-radius: 3px; padding: 0 4px; margin-left: 6px; color: var(--soft); }
.limits li { margin: 3px 0; max-width: 84ch; }
.warn { color: var(--warn); }
.window { font: 13px/1.7 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre-wrap;
  border-left: 2px solid var(--line); padding: 0 0 0 10px; margin: 5px 0; overflow-wrap: anywhere; }
.window .kind { color: var(--soft); display: inline-block; min-width: 11ch; font-size: 11.5px; }
mark { color: inherit; border-radius: 2px; padding: 1px 0; }
dl.facts { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; font-size: 13.5px; margin: 10px 0; }
dl.facts dt { color: var(--soft); } dl.facts dd { margin: 0; overflow-wrap: anywhere; }
svg { display: block; }
.scroll svg { max-width: 100%; height: auto; }
p.verdict { font-size: 18px; font-weight: 600; }
tr.bad td { color: #b00020; } tr.open td { color: var(--warn); }
@media print { body { max-width: none; padding: 0; } h2 { break-after: avoid; } }
"""


def document(title: str, body: Sequence[str]) -> str:
    """A whole page from the parts of its body, which are HTML already."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape.html(title)}</title><style>{CSS}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )
