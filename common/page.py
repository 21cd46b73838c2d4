"""A page of HTML that needs nothing but itself: its frame, its colours by day and by night, and text without markup."""

import html
from collections.abc import Iterable

from common.streams import printable

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #202124; --soft: #5f6368; --line: #dfe1e5; --panel: #f5f6f8;
  --good: #2e7d4f; --bad: #b3261e; --doubt: #8a6100 }
@media (prefers-color-scheme: dark) { :root { --paper: #16181c; --ink: #e4e6ea; --soft: #a2a7b0; --line: #363a42;
  --panel: #20232a; --good: #6cc896; --bad: #ff8a80; --doubt: #e0b050 } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1150px; padding: 0 1rem; color: var(--ink);
  background: var(--paper) }
table { border-collapse: collapse } td, th { padding: 3px 10px 3px 0; text-align: left; vertical-align: top }
tr { border-bottom: 1px solid var(--line) } th { font-weight: 600 }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
pre, code { background: var(--panel) } pre { padding: .7rem; white-space: pre-wrap; overflow-wrap: anywhere }
code { padding: 0 .2em; overflow-wrap: anywhere } summary { cursor: pointer; margin: .4rem 0 }
"""


def escape(text: str) -> str:
    """Text from elsewhere, such as the name of a class: shown as it is, and neither markup nor a control character."""
    return html.escape(printable(text))


def page(title: str, body: Iterable[str], style: str = "", script: str = "") -> str:
    """The whole document; `title` is text, the other arguments are HTML, CSS and JavaScript."""
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}{style}</style></head><body>",
        *body,
    ]
    if script:
        parts.append(f"<script>{script}</script>")
    return "\n".join([*parts, "</body></html>"]) + "\n"
