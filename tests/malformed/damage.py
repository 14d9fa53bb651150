"""Ways to damage bytes, drawn from a case's own random numbers."""

from __future__ import annotations

import random


def cut(data: bytes, draws: random.Random) -> bytes:
    """Its end is missing."""
    return data[: draws.randrange(len(data))]


def flipped(data: bytes, draws: random.Random) -> bytes:
    """A few bytes are others."""
    altered = bytearray(data)
    for _ in range(draws.choice((1, 4, 16))):
        altered[draws.randrange(len(altered))] ^= draws.randrange(1, 256)
    return bytes(altered)


def holed(data: bytes, draws: random.Random) -> bytes:
    """A part of it is zeros, as a disk leaves it that was full or lost its power."""
    start = draws.randrange(len(data))
    end = min(len(data), start + draws.randrange(1, 512))
    return data[:start] + bytes(end - start) + data[end:]


def longer(data: bytes, draws: random.Random) -> bytes:
    """A part of it is there twice."""
    start = draws.randrange(len(data))
    return data[: start + draws.randrange(1, 512)] + data[start:]


DAMAGES = {"cut": cut, "flipped": flipped, "holed": holed, "longer": longer}
