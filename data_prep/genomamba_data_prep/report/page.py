"""The page around a report's charts: style, headings, tables, confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

STYLE = """
:root { color-scheme: light dark; --ink: #1d2530; --soft: #5c6877; --line: #dfe4ea; --paper: #fff;
  --panel: #f6f8fa; --model: #1668b8; --optimum: #c2570c; --good: #14733f; --bad: #b3261e;
  --warn: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9f0; --soft: #9aa7b6; --line: #2d3743;
  --paper: #10151b; --panel: #181f27; --model: #5ab0f5; --optimum: #f09a56; --good: #5fce93;
  --bad: #ff8a80; --warn: #f2b84b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
main { max-width: 52rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.25; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .5rem; }
p { margin: .5rem 0; max-width: 44rem; }
p.lead { color: var(--soft); font-size: 1.05rem; }
p.verdict { font-weight: 600; } .good { color: var(--good); } .bad { color: var(--bad); }
p.finding { border-left: 4px solid var(--line); background: var(--panel); padding: .5rem .8rem;
  max-width: none; } .finding span { color: var(--soft); }
.finding.good { border-color: var(--good); } .finding.bad { border-color: var(--bad); }
.finding.warn { border-color: var(--warn); } p.finding { color: var(--ink); }
.finding.good b { color: var(--good); } .finding.bad b { color: var(--bad); }
.finding.warn b { color: var(--warn); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem;
  margin: 1.5rem 0 0; }
.figures div { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem;
  padding: .75rem .9rem; }
.figures dt { color: var(--soft); font-size: .85rem; }
.figures dd { margin: 0; font-size: 1.45rem; font-weight: 600; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } figcaption { color: var(--soft); font-size: .9rem; margin-top: .35rem; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12.5px; } svg text.label { fill: var(--ink); }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--soft); }
svg polyline, svg path { fill: none; stroke-width: 2; stroke-linejoin: round; }
.model polyline, .model path { stroke: var(--model); } .model circle { fill: var(--model); }
.optimum polyline { stroke: var(--optimum); } .optimum circle { fill: var(--optimum); }
.chance polyline { stroke: var(--soft); stroke-dasharray: 2 5; }
.raw polyline { stroke: var(--model); opacity: .35; stroke-width: 1; }
.s1 polyline, .s1 path { stroke: #0072b2; } .s1 circle { fill: #0072b2; }
.s2 polyline, .s2 path { stroke: #d55e00; } .s2 circle { fill: #d55e00; }
.s3 polyline, .s3 path { stroke: #009e73; } .s3 circle { fill: #009e73; }
.s4 polyline, .s4 path { stroke: #cc79a7; } .s4 circle { fill: #cc79a7; }
.s5 polyline, .s5 path { stroke: #e69f00; } .s5 circle { fill: #e69f00; }
.s6 polyline, .s6 path { stroke: #56b4e9; } .s6 circle { fill: #56b4e9; }
.s7 polyline, .s7 path { stroke: #b3a000; } .s7 circle { fill: #b3a000; }
.rest polyline { stroke: var(--soft); }
svg .band { stroke: none; shape-rendering: crispEdges; }
.s1 .band { fill: #0072b2; } .s2 .band { fill: #d55e00; } .s3 .band { fill: #009e73; }
.s4 .band { fill: #cc79a7; } .s5 .band { fill: #e69f00; } .s6 .band { fill: #56b4e9; }
.rest .band { fill: var(--soft); }
svg .interval { stroke-width: 1.5; opacity: .8; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; margin: .25rem 0 0;
  padding: 0; font-size: .9rem; } .legend li { display: flex; align-items: center; gap: .5rem; }
svg.key { width: 1.75rem; height: .65rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums;
  font-size: .95rem; }
th, td { padding: .35rem .9rem .35rem 0; text-align: right; border-bottom: 1px solid var(--line); }
table:not(.plain) td { white-space: nowrap; }
th { font-weight: 600; } thead th { color: var(--soft); font-size: .85rem; vertical-align: bottom; }
th:first-child, td:first-child, .text, .plain td, .plain th { text-align: left; }
.confusion td { text-align: center; padding: .5rem .6rem; min-width: 4.5rem;
  border: 2px solid var(--paper); border-radius: .3rem;
  background: color-mix(in srgb, var(--model) calc(var(--share) * 70%), var(--panel)); }
.confusion th { border: 0; padding: .35rem .75rem .35rem 0; }
.confusion thead th { text-align: center; padding: .35rem; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem;
  padding: .9rem 1rem; overflow-x: auto; font-size: .85rem; line-height: 1.5; }
code { font-family: ui-monospace, "SFMono-Regular", "Liberation Mono", monospace; font-size: .9em; }
td code { white-space: nowrap; font-size: .78em; }
"""


def page(title: str, lead: str, body: Sequence[str]) -> str:
    """A complete HTML document: title, a sentence that says what it is, body elements."""
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
            f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>',
            *body,
            "</main>\n</body>\n</html>\n",
        ]
    )


def verdict(passed: bool, text: str) -> str:
    """Whether the run met its bars, in words and colour."""
    mark, style = ("✓", "good") if passed else ("✗", "bad")
    return f'<p class="verdict {style}">{mark} {escape(text)}</p>'


def key_figures(figures: dict[str, str]) -> str:
    """Name and value of the few numbers to see first."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in figures.items()
    )
    return f'<dl class="figures">{items}</dl>'


def section(heading: str, text: str, *elements: str) -> str:
    """A heading, a sentence or two, and elements."""
    return "\n".join(
        [
            f"<section>\n<h2>{escape(heading)}</h2>",
            f"<p>{escape(text)}</p>",
            *elements,
            "</section>",
        ]
    )


def details(summary: str, content: str) -> str:
    """What a reader unfolds by its summary."""
    return f"<details><summary>{escape(summary)}</summary>\n{content}\n</details>"


def figure(content: str, caption: str) -> str:
    """A chart and its caption."""
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numeric: bool = True,
    text: Sequence[str] = (),
    code: Sequence[str] = (),
) -> str:
    """A table of texts.

    Args:
        header: the columns' names.
        rows: a text a column.
        numeric: set all but the first column right.
        text: columns that are set left all the same.
        code: columns that are set as code, such as digests.
    """
    left = [' class="text"' if name in text else "" for name in header]
    head = "".join(
        f'<th scope="col"{side}>{escape(name)}</th>'
        for name, side in zip(header, left, strict=True)
    )
    cells = ["<code>{}</code>" if name in code else "{}" for name in header]
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{side}>{cell.format(escape(value))}</td>"
            for value, cell, side in zip(row, cells, left, strict=True)
        )
        + "</tr>\n"
        for row in rows
    )
    style = "" if numeric else ' class="plain"'
    return (
        f'<div class="scroll"><table{style}><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def confusion_matrix(counts: npt.NDArray[np.int64], classes: Sequence[str]) -> str:
    """A matrix of counts (true class, predicted class), shaded by each row's shares."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in classes)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(
            f'<td style="--share:{share:.3f}" title="{share:.1%}">{count}</td>'
            for count, share in zip(counts[i], shares[i], strict=True)
        )
        + "</tr>\n"
        for i, name in enumerate(classes)
    )
    return (
        '<div class="scroll"><table class="confusion"><thead><tr><th scope="col">true \\ predicted'
        f"</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def commands(lines: Sequence[str]) -> str:
    """Shell commands to copy."""
    return f"<pre><code>{escape(chr(10).join(lines))}</code></pre>"
