"""Pages of results: one file without anything from elsewhere, readable in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from server.domain.tasks import HTML_RESULT, Task, TaskResult

_STYLE = """
:root { color-scheme: light dark; --text: #1d2733; --soft: #5b6875; --back: #ffffff; --card: #f4f6f8; --rule: #dfe4e9;
  --curve: #1769c2; --mark: #b3400f; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e9ee; --soft: #9aa7b3; --back: #14181d; --card: #1d232a;
  --rule: #333c46; --curve: #6cb2ff; --mark: #ff9a5c; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1160px; padding: 28px 20px 48px; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 24px; margin: 0; } h2 { font-size: 17px; margin: 0 0 8px; } p { margin: 4px 0; }
.soft { color: var(--soft); } .row { display: flex; flex-wrap: wrap; gap: 16px; margin: 20px 0; }
.tile { background: var(--card); border-radius: 8px; padding: 12px 18px; min-width: 128px; flex: 1; }
.tile b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; }
.card { background: var(--card); border-radius: 8px; padding: 16px 18px; flex: 1 1 420px; min-width: 0; }
.wide { flex-basis: 100%; overflow-x: auto; } svg { display: block; width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: 5px 12px; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 600; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
td.text, th.text { text-align: left; } code { font: 13px ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
svg text { fill: var(--text); font-size: 12px; } svg .name { text-anchor: middle; font-size: 13px; }
svg .middle { text-anchor: middle; } svg .end { text-anchor: end; }
svg .axis { fill: none; stroke: var(--soft); } svg .grid { fill: none; stroke: var(--rule); }
svg .curve { fill: none; stroke: var(--curve); stroke-width: 2; stroke-linejoin: round; }
svg .guess { fill: none; stroke: var(--soft); stroke-dasharray: 5 4; } svg .bar { fill: var(--curve); }
svg .mark { fill: var(--mark); stroke: var(--card); stroke-width: 1.5; }
"""


def page(task: Task, title: str, blocks: Sequence[str]) -> TaskResult:
    """A page about a task. The title is a text, the blocks are HTML."""
    when = task.create_time.strftime("%Y-%m-%d %H:%M UTC")
    described = f"<p>{escape(task.description)}</p>" if task.description else ""
    text = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n{described}<p class="soft">Task {task.task_id}, created {when}</p>\n'
        + "\n".join(blocks)
        + "\n</body>\n</html>\n"
    )
    return TaskResult(text.encode(), HTML_RESULT)


def tiles(values: Sequence[tuple[str, str]]) -> str:
    """Numbers that say the most, each with what it is."""
    inside = "".join(f'<div class="tile"><b>{escape(value)}</b>{escape(name)}</div>' for name, value in values)
    return f'<div class="row">{inside}</div>'


def card(title: str, inside: str, *, wide: bool = False) -> str:
    """A part of the page; `inside` is HTML."""
    return f'<section class="card{" wide" if wide else ""}"><h2>{escape(title)}</h2>{inside}</section>'


def row(cards: Sequence[str]) -> str:
    """Parts side by side where there is room."""
    return f'<div class="row">{"".join(cards)}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts; the first column is the name of its row."""
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>" for cells in rows)
    return f"<table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"
