"""Download one file over HTTP(S): resumed where it broke off, verified, renamed when whole.

urllib, not pooch: pooch cannot resume, and starts 240 MB anew when a line breaks at the end.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from filelock import FileLock

from data_prep.core.errors import BadInput
from data_prep.core.folder import MAX_NAME
from data_prep.core.progress import progress, say

if TYPE_CHECKING:
    from rich.console import Console

FOLDER: Final = ".downloads"
# In a row without a byte between them; a line that breaks but goes on is waited for as long as it does.
ATTEMPTS: Final = 4
PAUSE_S: Final = 0.5
_TIMEOUT_S: Final = 30
_BLOCK_BYTES: Final = 1 << 18


@dataclass(frozen=True)
class Remote:
    """A file to download. `checksum` is "sha256:HEX" or "md5:HEX"; None: there is nothing to verify it by."""

    url: str
    checksum: str | None = None

    @property
    def file_name(self) -> str:
        """Two files of one name from two addresses do not meet."""
        name = re.sub(r"[^A-Za-z0-9._-]", "_", Path(urllib.parse.urlsplit(self.url).path).name)[-MAX_NAME:]
        return f"{hashlib.sha256(self.url.encode()).hexdigest()[:8]}-{name}"


def parse_url(text: str) -> Remote:
    """`URL` or `URL#sha256=HEX`, as pip writes it."""
    url, _, fragment = text.partition("#")
    if not _is_url(url):
        raise BadInput(
            f"a URL must be http://HOST/PATH or https://HOST/PATH in ASCII without spaces, but got {url!r}: correct it, with %20 for a space"
        )
    if not fragment:
        return Remote(url)
    if not re.fullmatch(r"(sha256=[0-9a-f]{64}|md5=[0-9a-f]{32})", fragment):
        raise BadInput(
            f"what follows # in a URL must be sha256= and 64 hex digits or md5= and 32, but got '{fragment}': correct it or leave it out"
        )
    return Remote(url, fragment.replace("=", ":"))


def _is_url(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        # The port is only read, and refused, when it is asked for.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and re.fullmatch(r"[!-~]+", url) is not None
    except ValueError:
        return False


def checksum_of(path: Path, algorithm: str) -> str:
    """ "ALGORITHM:HEX" of a file."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def fetch(remote: Remote, root: Path, console: Console | None = None) -> Path:
    """The file under `root`/.downloads, downloaded unless it is there. BadInput: no network, a refusal, a wrong checksum."""
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / remote.file_name
    with FileLock(folder / f"{remote.file_name}.lock"):
        if target.is_file() and _is_right(target, remote):
            return target
        part = folder / f"{remote.file_name}.part"
        say(console, f"downloading {remote.url}" + (f", going on after {part.stat().st_size} bytes" if part.is_file() else ""))
        _download(remote, part, console)
        if not _is_right(part, remote):
            found = checksum_of(part, _algorithm(remote))
            part.unlink()
            _tag(part).unlink(missing_ok=True)
            raise BadInput(
                f"the download of {remote.url} must have the checksum {remote.checksum}, but has {found} and was removed: "
                "run it again, or give another copy by --source"
            )
        part.rename(target)
        _tag(part).unlink(missing_ok=True)
    return target


def _algorithm(remote: Remote) -> str:
    return remote.checksum.partition(":")[0] if remote.checksum else "sha256"


def _is_right(path: Path, remote: Remote) -> bool:
    return remote.checksum is None or checksum_of(path, _algorithm(remote)) == remote.checksum


def _tag(part: Path) -> Path:
    """Beside the part: the server's ETag or date, by which it tells whether the rest still belongs to it."""
    return part.with_name(f"{part.name}.tag")


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _download(remote: Remote, part: Path, console: Console | None) -> None:
    """Until `part` is whole, through broken lines."""
    failures = 0
    while True:
        before = _size(part)
        try:
            whole = _transfer(remote, part, console)
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            raise BadInput(
                f"a download must be answered, but {remote.url} says {error.code} {error.reason}: "
                "check the address, or give a local copy by --source"
            ) from error
        except _NetworkError as error:
            whole, reason = False, str(error)
        if whole:
            return
        failures = 0 if _size(part) > before else failures + 1
        if failures == ATTEMPTS:
            raise BadInput(
                f"a download must reach its server, but {remote.url} fails ({reason}): try again later, it goes on where "
                "it broke off, or give a local copy by --source"
            )
        time.sleep(PAUSE_S * 2**failures)


class _NetworkError(Exception):
    """Worth another attempt; an OSError of the disk is not, and stays one."""


def _transfer(remote: Remote, part: Path, console: Console | None) -> bool:
    """One request, from where `part` ends; was it the last one?"""
    have = _size(part)
    tag = _tag(part).read_text() if _tag(part).is_file() else ""
    if have and not (tag or remote.checksum):
        # Nothing would tell a changed file from the old one: the two halves could be of two files.
        part.unlink()
        have = 0
    headers = {"User-Agent": "keras-sweeps", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-"} | ({"If-Range": tag} if tag else {})
    try:
        # `parse_url` takes http and https alone, and urllib follows no redirection to a file.
        response = urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=_TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        return _beyond_the_end(part, have, error.headers.get("Content-Range", ""))
    except (OSError, http.client.HTTPException, ValueError) as error:
        # ValueError: a host's name that cannot be one, here or in a redirection.
        raise _NetworkError(getattr(error, "reason", None) or error) from error
    with response:
        return _receive(response, part, have, remote.url, console)


def _beyond_the_end(part: Path, have: int, content_range: str) -> bool:
    if content_range == f"bytes */{have}":
        return True
    part.unlink()
    return False


def _receive(response: http.client.HTTPResponse, part: Path, have: int, url: str, console: Console | None) -> bool:
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        have = 0
    elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        raise _NetworkError(f"asked for bytes from {have} on, got {response.headers.get('Content-Range')}")
    etag = response.headers.get("ETag", "")
    # A weak ETag does not promise the same bytes, and If-Range forbids it.
    _tag(part).write_text(etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", ""))
    length = response.headers.get("Content-Length")
    total = have + int(length) if length else 0
    with (
        part.open("ab" if have else "wb") as file,
        progress(console, f"downloading {Path(urllib.parse.urlsplit(url).path).name}", total, done=have, of_bytes=True) as advance,
    ):
        while block := _read(response):
            file.write(block)
            advance(len(block))
    return not total or _size(part) == total


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _NetworkError(error) from error
