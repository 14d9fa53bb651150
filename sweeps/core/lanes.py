"""Where the boxes of a graph stand on a grid: rows by distance from the inputs, columns by branch. Nothing here is drawn."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

# A box's name, or (source, target, row) of a connection where it passes a row without stopping.
Key = Hashable


@dataclass
class Node:
    """A cell that is taken: its row from 0, its column (0 is the trunk, negative to its left). The rest is for who draws it, px."""

    row: int
    column: int = 0
    x: float = 0.0
    top: float = 0.0
    bottom: float = 0.0


@dataclass
class _Lane:
    """Nodes one below the other, each read by the next."""

    start: int
    nodes: list[Key] = field(default_factory=list)
    source: _Lane | None = None
    column: int = 0


def columns_of(inputs: Mapping[str, list[str]]) -> dict[Key, Node]:
    """The cells of all boxes (name -> names of those it reads) and of what passes between them; no two share one.

    ValueError when boxes read each other in a circle."""
    rows = _rows(inputs)
    nodes: dict[Key, Node] = {name: Node(row) for name, row in rows.items()}
    before: dict[Key, list[Key]] = {name: [] for name in inputs}
    for target, read in inputs.items():
        for source in read:
            last: Key = source
            for row in range(rows[source] + 1, rows[target]):
                passing = (source, target, row)
                nodes[passing], before[passing] = Node(row), [last]
                last = passing
            before[target].append(last)
    _give_columns(nodes, before)
    return nodes


def _rows(inputs: Mapping[str, list[str]]) -> dict[str, int]:
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(inputs)
    graph.add_edges_from((source, target) for target, read in inputs.items() for source in read)
    try:
        return {name: row for row, names in enumerate(networkx.topological_generations(graph)) for name in names}
    except networkx.NetworkXUnfeasible:
        raise ValueError("a network's layers are in an order, but some of these read each other in a circle") from None


def _give_columns(nodes: dict[Key, Node], before: dict[Key, list[Key]]) -> None:
    """Cut the graph into lanes, and give each the free column nearest to where it comes from."""
    heir = _heirs(nodes, before)
    lane_of: dict[Key, _Lane] = {}
    lanes: list[_Lane] = []
    for key in sorted(before, key=lambda key: nodes[key].row):
        offered = [lane_of[source] for source in before[key] if heir[source] == key]
        if offered:
            # The oldest goes on: a trunk stays a trunk where branches come back.
            lane = min(offered, key=lambda lane: lane.start)
        else:
            lane = _Lane(nodes[key].row, source=lane_of[before[key][0]] if before[key] else None)
            lanes.append(lane)
        lane.nodes.append(key)
        lane_of[key] = lane
    taken: dict[int, list[tuple[int, int]]] = {}
    for lane in lanes:
        end = nodes[lane.nodes[-1]].row
        lane.column = _nearest_free(taken, lane.source.column if lane.source else 0, (lane.start, end))
        taken.setdefault(lane.column, []).append((lane.start, end))
        for key in lane.nodes:
            nodes[key].column = lane.column


def _heirs(nodes: dict[Key, Node], before: dict[Key, list[Key]]) -> dict[Key, Key]:
    """Of those that read a node, the one that goes on below it: a box before what only passes, then the one with the most boxes on the way to the end."""
    longest: dict[Key, int] = {}
    heir: dict[Key, Key] = dict.fromkeys(nodes)
    for key in sorted(before, key=lambda key: -nodes[key].row):
        way = longest.setdefault(key, 0)
        for source in before[key]:
            longest[source] = max(longest.get(source, 0), way + _is_box(key))
            old = heir[source]
            # Among equals the first in the model's order.
            if old is None or _claim(key, longest) > _claim(old, longest):
                heir[source] = key
    return heir


def _claim(key: Key, longest: dict[Key, int]) -> tuple[bool, int]:
    return _is_box(key), longest[key]


def _is_box(key: Key) -> bool:
    return not isinstance(key, tuple)


def _nearest_free(taken: dict[int, list[tuple[int, int]]], column: int, rows: tuple[int, int]) -> int:
    """The column where no lane is in these rows, nor just above and below them: right before left."""
    start, end = rows
    distance = 0
    while True:
        for found in (column + distance, column - distance):
            if all(last + 1 < start or end + 1 < first for first, last in taken.get(found, ())):
                return found
        distance += 1
