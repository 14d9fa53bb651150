"""A folder of your own: `images:PATH`, one sub-folder a class.

Where from: your disk. Licence: yours. Size: any; 100,000 small images take under a minute, and memory does not grow with them.
Layout: `PATH/<class>/**/<image>`: the sub-folders in sorted order are the classes, everything below one belongs to it. Files end in
.jpg .jpeg .png .gif .bmp .webp .tif .tiff .ppm .pgm .pbm in any case; others are left out, which the screen and dataset.json say.
The order of the images is that of their sorted paths. Names are folder-safe, and cut to 60 characters: `images:~/My Birds` is
prepared as `images-My_Birds`. PATH and the names of the classes must be valid UTF-8; an image's own name need not be.
"""

import re
from functools import partial
from pathlib import Path

import numpy as np

from data_prep.core.decode import EXTENSIONS
from data_prep.core.errors import BadInput
from data_prep.core.folder import MAX_NAME, folder_identity, walk
from data_prep.core.progress import say
from data_prep.core.source import Files, Found, Request, Source


def _find(request: Request) -> Found:
    if request.source is not None:
        raise BadInput(f"images:PATH takes its folder from PATH and no --source, but got '{request.source}': leave --source out")
    folder = Path(request.argument or "").expanduser()
    _check_text("images:PATH", str(folder))
    if not folder.is_dir():
        raise BadInput(f"images:PATH must name a folder, but '{request.argument}' is none: check the path")
    classes = _classes(folder)
    if len(classes) < 2:
        raise BadInput(
            f"images:PATH must have at least 2 sub-folders, one a class, but '{request.argument}' has {len(classes)}: "
            "sort the images into sub-folders"
        )
    for name in classes:
        _check_text("the name of a class's folder", name)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", folder.resolve().name)[:MAX_NAME] or "folder"
    return Found(where=str(folder), identity=partial(folder_identity, folder), read=partial(_read, folder, request), name=f"images-{name}")


def _check_text(what: str, name: str) -> None:
    """JSON and Parquet refuse what is not UTF-8, long after the work was done."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        # repr, for a terminal refuses it as well.
        raise BadInput(f"{what} must be valid UTF-8, but got {name!r}: rename it") from error


def _classes(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX")


def _read(folder: Path, request: Request) -> Files:
    classes = _classes(folder)
    members: list[str] = []
    labels: list[int] = []
    others: list[str] = []
    for label, name in enumerate(classes):
        for inner in walk(folder / name):
            if inner.lower().endswith(EXTENSIONS):
                members.append(f"{name}/{inner}")
                labels.append(label)
            else:
                others.append(f"{name}/{inner}")
    note = f"{len(others)} files without an image's extension left out, the first is {others[0]}" if others else ""
    if note:
        say(request.console, note)
    return Files(folder, tuple(members), np.asarray(labels, np.int32), tuple(classes), (note,) if note else ())


SOURCE = Source(summary="a folder of your own, one sub-folder a class", find=_find, argument="PATH")
