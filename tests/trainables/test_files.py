"""Files are written whole or not at all, on a disk and elsewhere."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow import fs

from data_prep import BadInput
from tests.trainables.trials import ROOT
from trainables.core import files

LOCAL = fs.LocalFileSystem()
# A writer that dies when the content is written but the file not yet renamed.
KILLED = """
import os, sys
from pyarrow import fs
from trainables.core import files
os.fsync = lambda handle: os.kill(os.getpid(), 9)
files.write(fs.LocalFileSystem(), sys.argv[1], b"new" * 1000)
"""
# A writer that has room for 100 bytes.
NO_ROOM = """
import resource, sys
from pyarrow import fs
from trainables.core import files
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    files.write(fs.LocalFileSystem(), sys.argv[1], b"new" * 1000)
except OSError as error:
    print(error.strerror, end="")
"""


def writer(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.bin"
    for content in (b"long content", b"short", b""):
        files.write(LOCAL, str(path), content)
        assert files.read(LOCAL, str(path)) == content
    assert [each.name for each in path.parent.iterdir()] == ["c.bin"]


@pytest.mark.parametrize("local", [True, False], ids=["disk", "store"])
def test_what_is_written_part_by_part_appears_whole(tmp_path: Path, local: bool) -> None:
    """And not at all where it ends before."""
    path = tmp_path / "c.bin"
    path.write_bytes(b"old")
    system, name = (LOCAL, str(path)) if local else (fs.SubTreeFileSystem(str(tmp_path), LOCAL), "c.bin")
    assert files.is_local(system) is local
    seen = []

    def content(stream: files.Stream) -> None:
        for part in (b"new", b" con", b"tent"):
            stream.write(part)
            seen.append(path.read_bytes())

    files.write(system, name, content)
    assert seen == [b"old"] * 3
    assert path.read_bytes() == b"new content"

    def failing(stream: files.Stream) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left on device"):
        files.write(system, name, failing)
    assert path.read_bytes() == b"new content"
    assert [each.name for each in tmp_path.iterdir()] == ["c.bin"]


def test_a_killed_writer_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "c.bin"
    path.write_bytes(b"old")
    done = writer(KILLED, path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert path.read_bytes() == b"old"
    # Its draft is there, whole or not, but nobody takes it for a file.
    assert len(list(tmp_path.iterdir())) == 2
    assert files.names(LOCAL, str(tmp_path)) == ["c.bin"]
    files.write(LOCAL, str(path), b"new")
    assert path.read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "c.bin"
    path.write_bytes(b"old")
    done = writer(NO_ROOM, path)
    assert (done.returncode, done.stdout) == (0, "File too large"), done.stderr
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["c.bin"]


def test_a_reader_sees_one_or_the_other(tmp_path: Path) -> None:
    path = str(tmp_path / "c.bin")
    contents = [b"a" * 100_000, b"b" * 50_000]
    files.write(LOCAL, path, contents[0])
    seen, stop = [], threading.Event()

    def look() -> None:
        while not stop.is_set():
            seen.append(files.read(LOCAL, path))

    reader = threading.Thread(target=look)
    reader.start()
    for turn in range(100):
        files.write(LOCAL, path, contents[turn % 2])
    stop.set()
    reader.join()
    assert seen
    assert set(seen) <= set(contents)


def test_names(tmp_path: Path) -> None:
    assert files.names(LOCAL, str(tmp_path / "none")) == []
    for name in ("b", "a", ".hidden", ".a.77.tmp"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "deeper").write_bytes(b"")
    assert files.names(LOCAL, str(tmp_path)) == ["a", "b"]


def test_read_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read(LOCAL, str(tmp_path / "none"))


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for location in ("runs/one", str(tmp_path / "runs/one"), (tmp_path / "runs/one").as_uri()):
        system, path = files.resolve(location)
        assert files.is_local(system)
        assert path == str(tmp_path / "runs/one")


def test_other_file_systems() -> None:
    system, path = files.resolve("mock:///bucket/run")
    assert not files.is_local(system)
    assert path == "bucket/run"
    assert files.names(system, path) == []
    system.create_dir(path)
    for content in (b"long content", b"short"):
        files.write(system, f"{path}/c.bin", content)
        assert files.read(system, f"{path}/c.bin") == content
    assert files.names(system, path) == ["c.bin"]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("nope://bucket/run", "Unrecognized filesystem type in URI: nope://bucket/run"),
        ("s3:///run", "Missing bucket name in S3 URI"),
        ("://run", "Cannot parse URI: '://run' due to syntax error at character ':' (position 0)"),
    ],
)
def test_bad_uri(location: str, reason: str) -> None:
    with pytest.raises(BadInput) as caught:
        files.resolve(location)
    assert str(caught.value) == f"a storage is a folder or a URI that pyarrow reads (s3://...), but {location!r} is not: {reason}"


class Away(fs.FileSystemHandler):  # type: ignore[misc]
    """A store that does not answer for some calls."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.away, self.asked = folder, 0, 0

    def _answer(self) -> None:
        self.asked += 1
        if self.away > 0:
            self.away -= 1
            raise OSError("connection refused")

    def get_type_name(self) -> str:
        return "away"

    def open_input_stream(self, path: str) -> object:
        self._answer()
        return LOCAL.open_input_stream(str(self.folder / path))

    def open_output_stream(self, path: str, metadata: object) -> object:
        self._answer()
        return LOCAL.open_output_stream(str(self.folder / path))

    def get_file_info_selector(self, selector: fs.FileSelector) -> object:
        self._answer()
        return LOCAL.get_file_info(fs.FileSelector(str(self.folder / selector.base_dir), allow_not_found=True))

    def _no(self, *args: object) -> None:
        # pyarrow wants a method for each.
        raise AssertionError("`files` asks a store for reading, writing and listing alone")

    get_file_info = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = move = copy_file = _no
    open_input_file = open_append_stream = normalize_path = _no


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Away, fs.FileSystem]:
    monkeypatch.setattr(files, "FIRST_PAUSE_SECONDS", 0.01)
    handler = Away(tmp_path)
    return handler, fs.PyFileSystem(handler)


def test_a_store_that_is_gone_for_a_while_is_waited_for(away: tuple[Away, fs.FileSystem]) -> None:
    handler, system = away
    handler.away = 3
    files.write(system, "a.bin", b"content", patience=10)
    handler.away = 3
    assert files.read(system, "a.bin", patience=10) == b"content"
    handler.away = 3
    assert files.names(system, "", patience=10) == ["a.bin"]
    assert handler.asked == 12


def test_not_for_ever_and_not_unasked(away: tuple[Away, fs.FileSystem], monkeypatch: pytest.MonkeyPatch) -> None:
    handler, system = away
    handler.away = 1000
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setattr(files, "time", clock)
    with pytest.raises(files.StorageLost) as caught:
        files.write(system, "a.bin", b"content", patience=0.1)
    assert str(caught.value) == "the storage does not answer (connection refused)"
    assert handler.asked == 4, "after 0, 0.01, 0.03 and 0.07 s"
    with pytest.raises(OSError, match="connection refused"):
        files.write(system, "a.bin", b"content")
    assert handler.asked == 5
    assert list(handler.folder.iterdir()) == []


def test_what_is_not_there_is_not_waited_for(away: tuple[Away, fs.FileSystem]) -> None:
    handler, system = away
    with pytest.raises(FileNotFoundError):
        files.read(system, "a.bin", patience=10)
    assert handler.asked == 1


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("runs", "runs"),
        ("/a/b@c?d", "/a/b@c?d"),
        ("s3://bucket/runs", "s3://bucket/runs"),
        ("s3://me:sec%2Fret@bucket/runs?region=eu-west-1&session_token=abc", "s3://***@bucket/runs?region=eu-west-1&session_token=***"),
    ],
)
def test_secrets_of_a_uri_are_not_shown(location: str, shown: str) -> None:
    assert files.shown(location) == shown


def test_nor_where_it_cannot_be_read() -> None:
    with pytest.raises(BadInput) as refused:
        files.resolve("s3://me:se@cret@bucket/runs")
    text = "a storage is a folder or a URI that pyarrow reads (s3://...), but 's3://***@bucket/runs' is not: Cannot parse URI: 's3://***@bucket/runs'"
    assert str(refused.value).startswith(text)
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize("given", ["soon", "-1", "inf", ""])
def test_patience_is_a_number_of_seconds(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    assert files.patience() == 300
    monkeypatch.setenv(files.PATIENCE, "2.5")
    assert files.patience() == 2.5
    monkeypatch.setenv(files.PATIENCE, given)
    with pytest.raises(BadInput) as refused:
        files.patience()
    assert str(refused.value) == f"SWEEPS_STORAGE_PATIENCE is a number of seconds, 0 or more, but got {given!r}: set it to one, or unset it"


def test_a_store_that_refuses_is_not_waited_for() -> None:
    asked = []

    def call() -> None:
        asked.append(1)
        raise OSError(
            "When initiating multiple part upload for key 'a' in bucket 'b': AWS Error ACCESS_DENIED during PutObject operation: no"
        )

    with pytest.raises(files.StorageLost, match=r"^the storage refuses \(When initiating.*ACCESS_DENIED.*\)$"):
        files._patiently(300, call)
    assert len(asked) == 1


def test_a_region_that_cannot_be_asked_for_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a worker that begins while the network is away. The driver says so at once: it may be a typing mistake."""
    answers = [OSError("When resolving region for bucket 'b': AWS Error NETWORK_CONNECTION"), OSError("the same"), (LOCAL, "b/c")]

    def from_uri(location: str) -> object:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr("trainables.core.files.fs.FileSystem", SimpleNamespace(from_uri=from_uri))
    monkeypatch.setattr(files, "FIRST_PAUSE_SECONDS", 0.01)
    with pytest.raises(BadInput, match="but 's3://b/c' is not: When resolving region"):
        files.resolve("s3://b/c")
    assert files.resolve("s3://b/c", patience=5) == (LOCAL, "b/c")
    answers[:] = [OSError("s3://me:secret@b/c is away")] * 9
    with pytest.raises(files.StorageLost) as lost:
        files.resolve("s3://me:secret@b/c", patience=0.02)
    assert str(lost.value) == "the storage does not answer (s3://***@b/c is away)"


def test_whether_a_write_is_allowed_is_asked_before_each_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FIRST_PAUSE_SECONDS", 0.01)
    asked: list[int] = []

    def allowed() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise files.StorageLost("it is another's")

    def away(system: fs.FileSystem, path: str, content: bytes) -> None:
        raise OSError("away")

    monkeypatch.setattr(files, "_put", away)
    with pytest.raises(files.StorageLost, match=r"^it is another's$"):
        files.write(fs.SubTreeFileSystem(str(tmp_path), LOCAL), "a", b"", 300, allowed)
