"""A decoder process: `python -m data_prep.core.decode_worker CONTAINER SIZE OUT`, jobs as JSON lines on stdin, answers on stdout.

It ends when stdin ends, so none is left behind when its parent is killed.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from data_prep.core.container import open_container
from data_prep.core.rows import decode_rows


def main(container: str, size: str, out: str) -> None:
    """Answers each job {"row", "members"} by {"skipped"}, or by {"errno"} where the disk refuses the pixels."""
    read, file = open_container(Path(container)), os.open(out, os.O_WRONLY)
    for line in sys.stdin:
        job = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"skipped": decode_rows(read, int(size), file, job["row"], job["members"])}
        except OSError as error:
            answer = {"errno": error.errno, "strerror": error.strerror}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
