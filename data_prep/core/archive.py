"""Where a published archive is: --source (a file, its extracted folder, a URL), else the official address."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data_prep.core.download import Remote, checksum_of, fetch, parse_url
from data_prep.core.errors import BadInput
from data_prep.core.folder import folder_identity
from data_prep.core.source import Request


@dataclass(frozen=True)
class Archive:
    """`path()` is the archive or folder on this machine, downloaded when that is asked for the first time."""

    where: str
    identity: Callable[[], str]
    path: Callable[[], Path]


def find_archive(request: Request, official: Remote) -> Archive:
    """BadInput: a --source that is not there. No network is touched."""
    if request.source is None or request.source.startswith(("http://", "https://")):
        remote = parse_url(request.source) if request.source else official
        # Without a checksum the address is all that is known of the content before it is here.
        identity = remote.checksum or f"url {remote.url}"
        return Archive(remote.url, lambda: identity, partial(fetch, remote, request.root, request.console))
    path = Path(request.source).expanduser()
    if not path.exists():
        raise BadInput(f"--source must be a file, a folder or a URL, but '{request.source}' does not exist: check the path")
    if not path.is_dir() and not path.is_file():
        # A pipe would be waited for, a device may have no end.
        raise BadInput(f"--source must be a file, a folder or a URL, but '{request.source}' is none of them: give the archive itself")
    if path.is_dir():
        return Archive(str(path), partial(folder_identity, path), lambda: path)
    assert official.checksum is not None  # every official archive has one
    # By the official algorithm, so that a local copy of the official archive is known as what it is.
    return Archive(str(path), partial(checksum_of, path, official.checksum.partition(":")[0]), lambda: path)
