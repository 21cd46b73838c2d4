"""How the report looks, and the little that moves in it. Without the script everything is there, but for the line that
names a cell of a large matrix, and the sorting of a table."""

import json
from collections.abc import Sequence

import numpy as np

from common.streams import printable

STYLE = """
:root { --right: #1f77b4; --wrong: #d9600b; --a: #d9600b; --b: #1f77b4; --c: #118a5e;
  --k0: #1f77b4; --k1: #e08214; --k2: #118a5e; --k3: #c23b75; --k4: #7b52ab; --k5: #8c6d1f; --k6: #0fa3b1;
  --k7: #b3261e }
@media (prefers-color-scheme: dark) { :root { --right: #5eaef0; --wrong: #ff9650; --a: #ff9650; --b: #5eaef0;
  --c: #4ccf9c; --k0: #5eaef0; --k1: #ffb054; --k2: #4ccf9c; --k3: #ff82b2; --k4: #b99aee; --k5: #d6b656;
  --k6: #4fd6e2; --k7: #ff8a80 } }
html { scroll-behavior: smooth } h1 { margin: 0 0 .2rem; font-size: 1.7rem; line-height: 1.25; overflow-wrap: anywhere }
h2 { margin: 0 0 .4rem; font-size: 1.3rem } h3 { margin: 1.2rem 0 .3rem; font-size: 1rem }
section { margin: 2.2rem 0; padding-top: 1.4rem; border-top: 1px solid var(--line) }
.about, small, figcaption { color: var(--soft) } .about { margin: 0; overflow-wrap: anywhere }
nav { margin: 1rem 0; display: flex; flex-wrap: wrap; gap: .3rem .4rem }
nav a { padding: .15rem .6rem; border-radius: 1rem; background: var(--panel); color: inherit; text-decoration: none }
.note { max-width: 75ch; margin: .2rem 0 .9rem } .left-out { color: var(--soft); overflow-wrap: anywhere }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: .7rem; margin: 1.2rem 0 }
.tiles div { background: var(--panel); border-radius: 8px; padding: .6rem .9rem } .tiles dt { color: var(--soft) }
.tiles dd { margin: 0 } .tiles strong { display: block; font-size: 1.7rem; line-height: 1.25;
  font-variant-numeric: tabular-nums }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)); gap: 1rem 2rem;
  align-items: start }
.scroll { overflow-x: auto } svg text { fill: var(--ink); font: 12px system-ui, sans-serif }
.chart { width: 100%; display: block } .chart .tick { fill: var(--soft) } .grid { stroke: var(--line); fill: none }
.mark { stroke: var(--soft); stroke-dasharray: 2 3; fill: none }
.line { fill: none; stroke-width: 2; stroke-linejoin: round } .line.a { stroke: var(--a); stroke-dasharray: 7 3 }
.line.b { stroke: var(--b) } .line.c { stroke: var(--c); stroke-dasharray: 2 3; stroke-width: 2.5 }
.line.grid-line { stroke: var(--soft); stroke-dasharray: 4 4; stroke-width: 1 }
.dot.a { fill: var(--a) } .dot.b { fill: var(--b) } .dot.c { fill: var(--c) } .dot.grid-line { fill: none }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .4rem 0; font-size: .9rem }
.keys i { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .4em }
.key { width: 28px; height: 8px; margin-right: .4em; vertical-align: middle }
.map { overflow: auto; max-height: 92vh } .matrix { display: block; width: 100% } .matrix .back { fill: var(--panel) }
.matrix .right { fill: var(--right) } .matrix .wrong { fill: var(--wrong) } .matrix .count.light { fill: var(--paper) }
.matrix.large { max-width: min(100%, 86vh, 820px); cursor: crosshair; touch-action: pan-x pan-y; overflow: visible }
.matrix .cross { fill: none; stroke: var(--ink); stroke-width: 1.5; pointer-events: none }
.matrix .names { display: none } .matrix .names text { font-size: 8px }
.zoomable input:checked ~ .map > .matrix { width: calc(14px * var(--classes)); max-width: none;
  margin: 118px 0 0 118px } .zoomable input:checked ~ .map .names { display: block }
.readout:empty { display: none } .readout { max-width: 800px; position: sticky; top: 0; margin: .3rem 0;
  z-index: 1;
  padding: .3rem .5rem; background: var(--panel); border-radius: 6px; min-height: 1.5em }
.bars { width: 100%; max-width: 820px } .bars td:first-child { overflow-wrap: break-word }
.bars td { vertical-align: middle }
.bar { display: inline-block; width: clamp(60px, 14vw, 160px); height: .8em; background: var(--panel);
  border-radius: 2px; vertical-align: baseline } .bar span { display: block; height: 100%; border-radius: 2px }
.bar.right span { background: var(--right) } .bar.wrong span { background: var(--wrong) }
.together { white-space: nowrap }
.sortable th { position: sticky; top: 0; background: var(--paper) } .sortable button { font: inherit; font-weight: 600;
  color: inherit; background: none; border: 0; padding: 0; cursor: pointer }
.sortable [aria-sort=ascending] button::after { content: " \\2191" }
.sortable [aria-sort=descending] button::after { content: " \\2193" }
figure { margin: 0 } figcaption { font-size: .85rem; line-height: 1.3; margin-top: .25rem; overflow-wrap: anywhere }
figcaption strong, .label { color: var(--ink) } img { display: block }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 1rem .9rem }
.gallery img, .row img { width: 100%; image-rendering: pixelated; border-radius: 4px }
.row { display: flex; flex-wrap: wrap; gap: .6rem; margin: 0 0 1.2rem } .row > figure { width: 128px }
.heads { display: grid; grid-template-columns: repeat(auto-fill, minmax(72px, 1fr)); gap: .4rem .6rem; flex: 1 1 300px;
  align-content: start } .row .head { max-width: 100px }
.places img { width: min(100%, 560px); image-rendering: pixelated }
.scale { display: inline-block; width: 120px; height: .7em; border-radius: 2px; vertical-align: middle }
.filters { display: grid; grid-template-columns: repeat(auto-fill, minmax(64px, 1fr)); gap: .7rem; max-width: 840px }
.filters img { max-width: 100%; image-rendering: pixelated; border-radius: 3px }
.filters figcaption { font-size: .8rem }
.cloud { display: block; width: 100% } .cloud path { stroke-width: 5; stroke-linecap: round;
  fill: none; stroke-opacity: .75 } .cloud .grey { stroke: var(--soft); stroke-width: 3; stroke-opacity: .3 }
.cloud path:hover { stroke: var(--ink); stroke-opacity: 1; stroke-width: 6 }
.cloud text { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; font-weight: 600;
  pointer-events: none } .facts th { padding-right: 1.5rem; white-space: nowrap } .facts td { overflow-wrap: anywhere }
@media (max-width: 480px) { body { margin: 1rem auto; padding: 0 .8rem } .row > figure { width: calc(33% - .4rem) }
  .bar.wrong { display: none } .bars { font-size: .85rem } td code { font-size: 12px; overflow-wrap: normal }
  svg text { font-size: 13px } .cloud text { font-size: 22px } .cloud path { stroke-width: 7 }
  .cloud .grey { stroke-width: 4 } }
@media print { nav, .readout, .zoomable label, .zoomable > input { display: none } section { break-inside: avoid } }
""" + "".join(f".cloud .k{i} {{ stroke: var(--k{i}) }} .keys .k{i} {{ background: var(--k{i}) }}\n" for i in range(8))

SORTING = """
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0], titles = [...table.tHead.rows[0].cells];
  titles.forEach((title, column) => {
    const button = document.createElement('button');
    button.textContent = title.textContent;
    title.replaceChildren(button);
    button.onclick = () => {
      const down = title.getAttribute('aria-sort') === 'ascending', number = title.className === 'n';
      const value = row => { const text = row.cells[column].textContent;
        return number ? (text === '' ? -1 : parseFloat(text.replace(/[,%]/g, ''))) : text.toLowerCase() };
      const rows = [...body.rows].map(row => [value(row), row]);
      rows.sort((a, b) => (number ? a[0] - b[0] : a[0].localeCompare(b[0])) * (down ? -1 : 1));
      titles.forEach(other => other.removeAttribute('aria-sort'));
      title.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      body.append(...rows.map(pair => pair[1]));
    };
  });
}
"""

CELLS = """
const picture = document.querySelector('.matrix.large'), readout = document.getElementById('readout');
if (picture) {
  const {names, rows} = DATA, cross = picture.querySelector('.cross'), size = CELL * names.length;
  readout.textContent = 'Point at a cell, or tap it.';
  const show = event => {
    const box = picture.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / box.width * names.length);
    const row = Math.floor((event.clientY - box.top) / box.height * names.length);
    if (!names[row] || !names[column]) return;
    const [x, y] = [column * CELL, row * CELL], all = Object.values(rows[row]).reduce((a, b) => a + b, 0);
    cross.setAttribute('d', `M0 ${y}H${size}M0 ${y + CELL}H${size}M${x} 0V${size}M${x + CELL} 0V${size}`);
    const count = `${rows[row][column] || 0} of ${all} images`;
    readout.textContent = row === column ? `${names[row]}, right: ${count}`
      : `${names[row]} taken for ${names[column]}: ${count}`;
  };
  picture.addEventListener('pointermove', show);
  picture.addEventListener('pointerdown', show);
}
"""


def cells_script(confusion: np.ndarray, names: Sequence[str], cell: int) -> str:
    """The script that names the cell of a large matrix under the pointer; both in the order in which they are drawn."""
    rows: list[dict[int, int]] = [{} for _ in names]
    for i, j in np.argwhere(confusion).tolist():
        rows[i][j] = int(confusion[i, j])
    data = json.dumps({"names": [printable(name) for name in names], "rows": rows}, separators=(",", ":"))
    safe = data.replace("<", r"\u003c")  # no name ends the script
    return CELLS.replace("CELL", str(cell)).replace("DATA", safe, 1)
