"""Downloads go on where they broke off, and what is not right is not kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from data_prep import BadInput, prepare
from data_prep.core import download
from data_prep.core.download import Remote, fetch, parse_url
from tests.data_prep.archives import make_tiny_imagenet
from tests.data_prep.conftest import Server

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses, and no proxy, whosever it is."""
    monkeypatch.setattr(download, "PAUSE_S", 0.001)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


def left(root: Path) -> list[str]:
    return sorted(path.name.split("-", 1)[1] for path in (root / ".downloads").iterdir() if path.suffix != ".lock")


def test_a_whole_download(tmp_path: Path, server: Server) -> None:
    server.content = CONTENT
    remote = Remote(server.url, SHA256)
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    assert server.requests == [""]  # the second time it is there
    assert left(tmp_path) == ["archive.zip"]


@pytest.mark.parametrize("checksum", [SHA256, "md5:" + hashlib.md5(CONTENT).hexdigest(), None])
def test_resume_after_breaks(tmp_path: Path, server: Server, checksum: str | None) -> None:
    server.content, server.break_after = CONTENT, [1_000_000, 500_000]
    assert fetch(Remote(server.url, checksum), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["", "bytes=1000000-", "bytes=1500000-"]


def test_resume_by_a_later_process(tmp_path: Path, server: Server) -> None:
    server.content, server.break_after = CONTENT, [1_000_000] + [0] * download.ATTEMPTS
    with pytest.raises(BadInput, match=r"fails \(the connection broke off\): try again later, it goes on where it broke off"):
        fetch(Remote(server.url, SHA256), tmp_path)
    assert left(tmp_path) == ["archive.zip.part", "archive.zip.part.tag"]
    server.requests.clear()
    assert fetch(Remote(server.url, SHA256), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["bytes=1000000-"]


def test_a_part_that_is_whole_already(tmp_path: Path, server: Server) -> None:
    server.content = CONTENT
    remote = Remote(server.url, SHA256)
    (tmp_path / ".downloads").mkdir()
    (tmp_path / ".downloads" / f"{remote.file_name}.part").write_bytes(CONTENT)
    assert fetch(remote, tmp_path).read_bytes() == CONTENT
    (tmp_path / ".downloads" / remote.file_name).rename(tmp_path / ".downloads" / f"{remote.file_name}.part")
    with (tmp_path / ".downloads" / f"{remote.file_name}.part").open("ab") as file:
        file.write(b"more than there is")
    assert fetch(remote, tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_anew(tmp_path: Path, server: Server) -> None:
    server.content, server.break_after, server.ranges = CONTENT, [1_000_000], False
    assert fetch(Remote(server.url, SHA256), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["", "bytes=1000000-"]


def test_two_halves_of_two_files_do_not_meet(tmp_path: Path, server: Server) -> None:
    server.content, server.break_after = CONTENT, [1_000_000] + [0] * download.ATTEMPTS
    with pytest.raises(BadInput, match="broke off"):
        fetch(Remote(server.url), tmp_path)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert fetch(Remote(server.url), tmp_path).read_bytes() == CONTENT[::-1]


def test_no_tag_and_no_checksum_starts_anew(tmp_path: Path, server: Server) -> None:
    server.content, server.break_after, server.etag = CONTENT, [1_000_000], ""
    assert fetch(Remote(server.url), tmp_path).read_bytes() == CONTENT
    assert server.requests == ["", ""]


def test_a_wrong_checksum_is_removed(tmp_path: Path, server: Server) -> None:
    server.content = CONTENT[:-1] + b"x"
    found = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(BadInput) as caught:
        fetch(Remote(server.url, SHA256), tmp_path)
    assert str(caught.value) == (
        f"the download of {server.url} must have the checksum {SHA256}, but has sha256:{found} and was removed: "
        "run it again, or give another copy by --source"
    )
    assert left(tmp_path) == []


def test_refused_and_unreachable(tmp_path: Path, server: Server) -> None:
    server.status = 404
    with pytest.raises(BadInput) as caught:
        fetch(Remote(server.url), tmp_path)
    assert str(caught.value) == (
        f"a download must be answered, but {server.url} says 404 Not Found: check the address, or give a local copy by --source"
    )
    with pytest.raises(BadInput) as caught:
        fetch(Remote("http://127.0.0.1:9/x.zip"), tmp_path)
    assert str(caught.value) == (
        "a download must reach its server, but http://127.0.0.1:9/x.zip fails ([Errno 111] Connection refused): try again later, "
        "it goes on where it broke off, or give a local copy by --source"
    )


def test_a_host_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^a download must reach its server, but http://a+/x\.zip fails \(.*label.*\): try again later"):
        fetch(Remote(f"http://{'a' * 70}/x.zip"), tmp_path)


def test_parse_url() -> None:
    assert parse_url("https://a/b.zip") == Remote("https://a/b.zip")
    assert parse_url(f"https://a/b.zip#sha256={'0' * 64}") == Remote("https://a/b.zip", "sha256:" + "0" * 64)
    assert Remote("https://a/b.zip?x=1").file_name.endswith("-b.zip")
    assert Remote("https://a/../..").file_name.endswith("-..")
    assert Remote(f"https://a/{'b' * 300}.zip").file_name.endswith(f"-{'b' * 56}.zip")
    assert Remote("https://a/b.zip").file_name != Remote("https://c/b.zip").file_name
    for other in ("file://localhost/etc/passwd", "ftp://a/b.zip"):
        with pytest.raises(BadInput, match=r"^a URL must be http://HOST/PATH or https://HOST/PATH"):
            parse_url(other)


def test_prepare_from_a_url(tmp_path: Path, server: Server) -> None:
    archive = make_tiny_imagenet(tmp_path / "t.zip", images_per_class=10, broken=0)
    server.content, server.break_after = archive.read_bytes(), [20_000]
    one = prepare("tiny-imagenet", size=32, root=tmp_path / "data", source=server.url)
    assert len(one.images) == 40
    prepare("tiny-imagenet", size=32, root=tmp_path / "data", source=server.url)
    prepare("tiny-imagenet", size=16, root=tmp_path / "data", source=server.url)
    assert len(server.requests) == 2
    with_checksum = f"{server.url}#sha256={hashlib.sha256(server.content).hexdigest()}"
    assert prepare("tiny-imagenet", size=32, root=tmp_path / "data", source=with_checksum).path == one.path
