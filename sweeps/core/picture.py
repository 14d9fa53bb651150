"""A picture of a network's graph as SVG, from the rows of its layers alone: top to bottom, a box for a layer and what it is followed by.

Boxes stand on a grid: rows are how far a layer is from the inputs, columns are the branches. A connection that passes rows without stopping has a
column there of its own, so none goes through a box. Colours are `currentColor`: light or dark is up to the page around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

from sweeps.core.lanes import Node, columns_of

Row = dict[str, Any]

# px
LINE, PADDING, GAP, BETWEEN, THIN = 15, 7, 26, 18, 14
LETTER, DIGIT = 8, 7  # widths at 12 px, bold and not, of the widest usual sans serif fonts
LONGEST = 30  # letters of a kind; the rest is in the tooltip


@dataclass
class Box:
    """A layer, and those below it that only pass on what it gives: of its shape, read by nobody else, with no weights or a normalization's."""

    layers: list[Row]
    inputs: list[str]
    x: float = 0.0
    y: float = 0.0
    wide: int = 0

    @property
    def lines(self) -> list[tuple[str, str]]:
        """(kind, parameters) of each layer."""
        return [(_cut(row["kind"]), f"{row['parameters']:,}" if row["parameters"] else "") for row in self.layers]

    @property
    def shape(self) -> str:
        """Of what comes out."""
        return self.layers[-1]["output_shape"] or ""

    @property
    def height(self) -> int:
        """Its lines and the shape's, px."""
        return LINE * (len(self.layers) + 1) + 2 * PADDING

    @property
    def width(self) -> int:
        """What its longest line takes, px."""
        lines = [len(kind) * LETTER + (len(count) + 2) * DIGIT * bool(count) for kind, count in self.lines]
        return max(*lines, len(self.shape) * DIGIT) + 2 * PADDING


def picture(rows: list[Row]) -> str | None:
    """An SVG of the layers (rows of the results' table `layers`, one run's, in order); None where they are no graph: a model that tells no inputs.

    An input that is no layer is left out. ValueError when layers read each other in a circle."""
    boxes = _boxes(rows)
    if len(rows) < 2 or all(not box.inputs for box in boxes.values()):
        return None
    nodes = columns_of({name: box.inputs for name, box in boxes.items()})
    width, height = _place(boxes, nodes)
    edges = [_edge(boxes, nodes, source, name) for name, box in boxes.items() for source in box.inputs]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
            f'aria-label="graph of {len(rows)} layers" font-family="system-ui, sans-serif" font-size="12" fill="currentColor">',
            *edges,
            *map(_drawn, boxes.values()),
            "</svg>",
        ]
    )


def _boxes(rows: list[Row]) -> dict[str, Box]:
    """Name of the first layer -> its box, with the names of the boxes it reads."""
    names = {row["name"] for row in rows}
    inputs = {row["name"]: [name for name in (row["inputs"] or "").split(", ") if name in names] for row in rows}
    readers: dict[str, int] = {}
    for name in (name for read in inputs.values() for name in read):
        readers[name] = readers.get(name, 0) + 1
    boxes: dict[str, Box] = {}
    box_of: dict[str, str] = {}
    for row in rows:
        read = inputs[row["name"]]
        before = boxes[box_of[read[0]]] if len(read) == 1 and read[0] in box_of else None
        if before and readers[read[0]] == 1 and _passes_on(row) and row["output_shape"] == before.shape:
            before.layers.append(row)
            box_of[row["name"]] = box_of[read[0]]
        else:
            boxes[row["name"]] = Box([row], read)
            box_of[row["name"]] = row["name"]
    for box in boxes.values():
        box.inputs = list(dict.fromkeys(box_of[name] for name in box.inputs))
    return boxes


def _passes_on(row: Row) -> bool:
    return not row["parameters"] or row["kind"].endswith("Normalization")


def _place(boxes: dict[str, Box], nodes: dict[Any, Node]) -> tuple[float, float]:
    """Give each box its place (`x`: its middle, `y`: its top, `wide`: as wide as the widest) and each node that of its cell; the size of the whole."""
    wide = max(box.width for box in boxes.values())
    with_box = {nodes[name].column for name in boxes}
    left = float(BETWEEN)
    middle: dict[int, float] = {}
    for column in sorted({node.column for node in nodes.values()}):
        width = wide if column in with_box else THIN
        middle[column] = left + width / 2
        left += width + BETWEEN
    heights: dict[int, int] = {}
    for name, box in boxes.items():
        heights[nodes[name].row] = max(heights.get(nodes[name].row, 0), box.height)
    tops, top = {}, BETWEEN
    for row in sorted(heights):
        tops[row] = top
        top += heights[row] + GAP
    for name, node in nodes.items():
        node.x, node.top, node.bottom = middle[node.column], tops[node.row], tops[node.row] + heights[node.row]
        if name in boxes:
            # In the middle of its row.
            boxes[name].wide = wide
            boxes[name].x, boxes[name].y = node.x, node.top + (heights[node.row] - boxes[name].height) / 2
    return left, top - GAP + BETWEEN


def _edge(boxes: dict[str, Box], nodes: dict[Any, Node], source: str, target: str) -> str:
    """An arrow: straight down through the rows that it passes, to another column only between rows, where no box is."""
    between = [nodes[source, target, row] for row in range(nodes[source].row + 1, nodes[target].row)]
    end = boxes[target].y
    x, y = nodes[source].x, nodes[source].bottom
    path = [f"M{x:g} {boxes[source].y + boxes[source].height:g}V{y:g}"]
    for node in [*between, nodes[target]]:
        half = (y + node.top) / 2
        path.append(f"C{x:g} {half:g} {node.x:g} {half:g} {node.x:g} {node.top:g}" if node.x != x else "")
        x, y = node.x, node.bottom
        path.append(f"V{end if node is nodes[target] else y:g}")
    head = f'<path d="M{x:g} {end:g}l-4 -8h8z"/>'
    return f'<path d="{"".join(path)}" fill="none" stroke="currentColor" stroke-opacity="0.55"/>{head}'


def _drawn(box: Box) -> str:
    left, width = box.x - box.wide / 2, box.wide
    told = "; ".join(f"{row['name']} ({row['kind']})" for row in box.layers)
    parts = [
        f"<g><title>{escape(told)}</title>",
        f'<rect x="{left:g}" y="{box.y:g}" width="{width:g}" height="{box.height:g}" rx="5" fill="currentColor" fill-opacity="0.06" '
        'stroke="currentColor" stroke-opacity="0.55"/>',
    ]
    y = box.y + PADDING + LINE - 4
    for n, (kind, count) in enumerate(box.lines):
        bold = ' font-weight="600"' if n == 0 else ""
        parts.append(f'<text x="{left + PADDING:g}" y="{y:g}"{bold}>{escape(kind)}</text>')
        if count:
            parts.append(f'<text x="{left + width - PADDING:g}" y="{y:g}" text-anchor="end">{count}</text>')
        y += LINE
    parts.append(f'<text x="{left + PADDING:g}" y="{y:g}" fill-opacity="0.7">{escape(box.shape)}</text></g>')
    return "".join(parts)


def _cut(kind: str) -> str:
    return kind if len(kind) <= LONGEST else f"{kind[: LONGEST - 1]}…"
