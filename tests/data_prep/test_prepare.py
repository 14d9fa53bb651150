"""prepare: again is nothing to do, two at once prepare once, and a process that dies leaves nothing that is trusted."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from data_prep import BadInput, open_dataset, prepare
from data_prep.core import pool
from data_prep.core import prepare as prepare_module
from data_prep.core.dataset import Dataset
from data_prep.core.source import Files
from tests.data_prep.archives import jpeg, make_tiny_imagenet

ROOT = Path(__file__).parents[2]
many_cores = pytest.mark.skipif(pool.cores() < 2, reason="one core: it decodes in the process itself")


def folders(root: Path) -> list[str]:
    """All folders, with the hidden ones."""
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def no_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> str:
        raise AssertionError("it was prepared again")

    monkeypatch.setattr(prepare_module, "build", fail)


def test_again_is_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = prepare("digits", size=8, root=tmp_path)
    no_building(monkeypatch)
    assert prepare("digits", size=8, root=tmp_path).path == one.path
    with pytest.raises(AssertionError):
        prepare("digits", size=9, root=tmp_path)


def test_a_copied_or_moved_archive_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_tiny_imagenet(tmp_path / "t.zip", images_per_class=10, broken=0)
    one = prepare("tiny-imagenet", size=16, root=tmp_path / "data", source=str(archive))
    no_building(monkeypatch)
    moved = shutil.copy(archive, tmp_path / "other.zip")
    assert prepare("tiny-imagenet", size=16, root=tmp_path / "data", source=str(moved)).path == one.path


def test_a_changed_archive_is_prepared_anew(tmp_path: Path) -> None:
    archive = make_tiny_imagenet(tmp_path / "t.zip", images_per_class=10, broken=0)
    one = prepare("tiny-imagenet", size=16, root=tmp_path / "data", source=str(archive))
    two = prepare("tiny-imagenet", size=16, root=tmp_path / "data", source=str(make_tiny_imagenet(archive, images_per_class=11, broken=0)))
    assert (len(one.images), len(two.images)) == (40, 44)
    assert open_dataset(one.path, verify=True).fingerprint != two.fingerprint


def test_a_new_preparation_is_prepared_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = prepare("digits", size=8, root=tmp_path)
    monkeypatch.setattr(prepare_module, "PREPARATION", 2)
    two = prepare("digits", size=8, root=tmp_path)
    assert one.path == two.path  # the same pixels after all
    assert [identity.split(",")[0] for identity in two.info["source_identities"]] == ["preparation 1", "preparation 2"]


def test_a_source_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_tiny_imagenet(tmp_path / "t.zip", images_per_class=10, broken=0)

    def change(*args: object) -> str:
        with archive.open("ab") as file:
            file.write(b"x")
        return "0" * 64

    monkeypatch.setattr(prepare_module, "build", change)
    with pytest.raises(BadInput) as caught:
        prepare("tiny-imagenet", size=16, root=tmp_path / "data", source=str(archive))
    assert str(caught.value) == f"a source must stay as it is while it is prepared, but '{archive}' changed: run it again"
    assert folders(tmp_path / "data") == []


def test_dataset_json(tmp_path: Path) -> None:
    archive = make_tiny_imagenet(tmp_path / "t.zip", images_per_class=50, broken=1)
    info = json.loads((prepare("tiny-imagenet", size=16, root=tmp_path / "data", source=str(archive)).path / "dataset.json").read_text())
    assert info["images"] == 199
    assert info["images_per_class"] == [50, 50, 50, 49]
    assert info["class_names"] == ["Egyptian cat", "reel", "volleyball", "rocking chair"]
    assert info["source"] == str(archive)
    assert [skipped["file"][-5:] for skipped in info["skipped"]] == [".JPEG"]
    assert set(info["versions"]) == {"python", "numpy", "pillow", "scikit-learn"}
    assert info["prepared_at"].endswith("+00:00")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(BadInput) as caught:
        prepare("digits", size=8, root=tmp_path)
    assert str(caught.value) == (
        f"the folder for data sets must have room for the images, but '{tmp_path}' is not so ({os.strerror(number)}): "
        "free it or choose another by --root"
    )
    assert folders(tmp_path) == []


@many_cores
def test_a_disk_that_fills_up_under_the_decoders(tmp_path: Path) -> None:
    """A file size limit stands in for the full disk; the decoder's own error arrives."""
    make_tiny_imagenet(tmp_path / "t.zip", images_per_class=300, broken=0)
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))\n"
        "from data_prep import *; from pathlib import Path\n"
        "try: prepare('tiny-imagenet', size=64, root=Path('data'), source='t.zip')\n"
        "except OSError as error: print(error.errno)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (str(errno.EFBIG), "")
    assert folders(tmp_path / "data") == []


def test_no_room_is_known_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**10, 10**10, 10_000_000))
    with pytest.raises(BadInput) as caught:
        prepare("digits", size=64, root=tmp_path)
    assert str(caught.value) == (
        f"the folder for data sets must have room for the images, but '{tmp_path}' has 0.01 GB free of 0.02 GB: "
        "free some, choose another by --root, or a smaller --size"
    )


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        BadInput, match=r"^the folder for data sets must be a folder, but '.*' is not so .*: free it or choose another by --root$"
    ):
        prepare("digits", size=8, root=tmp_path / "file")
    with pytest.raises(BadInput, match="must be a folder"):
        prepare("digits", size=8, root=tmp_path / "file" / "inner")


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that everybody may read. Those above `tmp_path` are closed again by each pytest that starts beside this one."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_root_that_may_not_be_written_still_opens(open_path: Path) -> None:
    archive = make_tiny_imagenet(open_path / "t.zip", images_per_class=10, broken=0)
    made = prepare("tiny-imagenet", size=8, root=open_path / "data", source=str(archive))
    (open_path / "data").chmod(0o555)
    # As nobody where the tests run as root, who may write everywhere; imports first, for nobody may not read root's Python.
    code = (
        "import os, sys; from pathlib import Path; from data_prep import *; source_names()\n"
        "prepare('tiny-imagenet', size=8, root=Path(sys.argv[1]), source=sys.argv[2])\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "for size in (8, 9):\n"
        "    try: print(prepare('tiny-imagenet', size=size, root=Path(sys.argv[1]), source=sys.argv[2]).fingerprint)\n"
        "    except BadInput as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(made.path.parent), str(archive)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        made.fingerprint,
        f"the folder for data sets must be writable, but '{made.path.parent}' is not so (Permission denied): "
        "free it or choose another by --root",
    ]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


STUCK = """
import sys, time
from pathlib import Path
from data_prep import prepare
from data_prep.core import build, pool
def stop(*args):
    print("here", flush=True)
    time.sleep(100)
def slowly(*args):
    from data_prep.core.pool import decode_rows
    time.sleep(1)
    return decode_rows(*args)
if sys.argv[1] == "decoding":
    pool.decode_rows = slowly
else:
    setattr(build, sys.argv[1], stop)
prepare("tiny-imagenet", size=64, root=Path("data"), source="t.zip")
"""


def decoders(pid: int) -> list[psutil.Process]:
    """The decoders of a process that live now, without joblib's other helpers."""
    living = []
    for child in psutil.Process(pid).children():
        # One that has ended, and that its parent has not asked for yet, has no command line.
        with suppress(psutil.NoSuchProcess):
            if "LokyProcess" in str(child.cmdline()):
                living.append(child)
    return living


def decoders_of(pid: int) -> list[psutil.Process]:
    """The decoders of a process at work."""
    found: list[psutil.Process] = []

    def are_there() -> bool:
        found[:] = decoders(pid)
        return len(found) >= min(2, pool.cores())

    until(are_there)
    return found


def ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def decoding(tmp_path: Path) -> bool:
    return any(path.stat().st_size for path in tmp_path.glob("data/.tiny*/images.npy"))


def until(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.kill
@pytest.mark.parametrize("at", ["_check_skipped", "_write_labels", "content_sha256", "_write_json"])
def test_kill_9_leaves_nothing_that_is_trusted(tmp_path: Path, at: str) -> None:
    make_tiny_imagenet(tmp_path / "t.zip", images_per_class=100, broken=0)
    process = subprocess.Popen([sys.executable, "-c", STUCK, at], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [name[:24] for name in folders(tmp_path / "data")] == [".tiny-imagenet-64px.tmp-"]
    dataset = prepare("tiny-imagenet", size=64, root=tmp_path / "data", source=str(tmp_path / "t.zip"))
    assert folders(tmp_path / "data") == [dataset.path.name]
    assert open_dataset(dataset.path, verify=True).images.shape == (400, 64, 64, 3)


@many_cores
@pytest.mark.kill
def test_decoders_of_a_process_killed_by_9(tmp_path: Path) -> None:
    """They end by themselves, and one that lives on (stopped, then let go) cannot disturb the next preparation."""
    make_tiny_imagenet(tmp_path / "t.zip", images_per_class=2500, broken=0)
    process = subprocess.Popen([sys.executable, "-c", STUCK, "decoding"], cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    until(lambda: decoding(tmp_path))
    stopped, *others = decoders_of(process.pid)
    stopped.suspend()
    process.kill()
    process.wait()
    until(lambda: all(ended(other) for other in others), seconds=10)
    assert not ended(stopped)
    assert [name[:24] for name in folders(tmp_path / "data")] == [".tiny-imagenet-64px.tmp-"]
    dataset = prepare("tiny-imagenet", size=64, root=tmp_path / "data", source=str(tmp_path / "t.zip"))
    stopped.resume()
    until(lambda: ended(stopped), seconds=10)
    assert folders(tmp_path / "data") == [dataset.path.name]
    assert open_dataset(dataset.path, verify=True).images.shape == (10_000, 64, 64, 3)


@pytest.mark.kill
@pytest.mark.parametrize("at", ["start", "work"])
def test_ctrl_c_leaves_nothing(tmp_path: Path, at: str) -> None:
    make_tiny_imagenet(tmp_path / "t.zip", images_per_class=2500, broken=0)
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, "decoding"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: any(tmp_path.glob("data/.tiny*/images.npy")) and bool(decoders_of(process.pid)) if at == "start" else decoding(tmp_path))
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate()
    assert errors.count("KeyboardInterrupt") == 1, errors  # the caller's; none of the decoders'
    assert "LokyProcess-" not in errors, errors
    assert "resource_tracker" not in errors, errors  # it warns of semaphores that were left
    assert output == ""  # a decoder that was started by half writes its traceback there
    assert folders(tmp_path / "data") == []


@many_cores
@pytest.mark.parametrize("cure", [True, False])
def test_the_end_of_a_pool_with_a_free_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cure: bool) -> None:
    """Chunks wait, and at the moment of the end there is room for one more. Without the cure loky's thread dies; when it does not, that may go."""
    from joblib.externals.loky.process_executor import _ExecutorManagerThread

    flag, died = _ExecutorManagerThread.flag_executor_shutting_down, []

    def flag_and_free(self: Any) -> None:
        flag(self)
        self.call_queue.full = lambda: False

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_ExecutorManagerThread, "flag_executor_shutting_down", flag_and_free)
    monkeypatch.setattr(threading, "excepthook", lambda problem: died.append(problem.exc_type))
    if not cure:
        monkeypatch.setattr(pool, "_drop_waiting", lambda: None)
    (tmp_path / "one.jpeg").write_bytes(jpeg(np.random.default_rng(0), 256))
    files = Files(tmp_path, ("one.jpeg",) * 20_000, np.zeros(20_000, np.int32), ("one",))
    (tmp_path / "images.npy").touch()
    with pytest.raises(KeyboardInterrupt):
        pool.decode_files(files, 8, tmp_path / "images.npy", interrupt)
    until(lambda: not any(isinstance(thread, _ExecutorManagerThread) for thread in threading.enumerate()), seconds=20)
    assert died == ([] if cure else [KeyError])


def test_ctrl_c_waits_until_the_decoders_are_started() -> None:
    """Even where another thread (of NumPy's) takes the signal: the mask is the main thread's alone."""
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    before = signal.getsignal(signal.SIGINT)
    lines = []

    def start() -> None:
        with pool._no_ctrl_c():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            lines.append("to the end")

    try:
        with pytest.raises(KeyboardInterrupt):
            start()
    finally:
        done.set()
        other.join()
    assert lines == ["to the end"]
    assert signal.getsignal(signal.SIGINT) is before


@many_cores
@pytest.mark.kill
def test_a_decoder_that_is_killed(tmp_path: Path) -> None:
    make_tiny_imagenet(tmp_path / "t.zip", images_per_class=2500, broken=0)
    code = (
        STUCK.replace("prepare(", "try: prepare(").replace("import prepare", "import BadInput, prepare")
        + "except BadInput as error: print(error)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "decoding"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: decoding(tmp_path))
    decoders_of(process.pid)[0].kill()
    output, errors = process.communicate()
    assert output.startswith(
        "decoding must have the memory of one image a core, but a decoder process was killed among the files from 'tiny-imagenet-200/train/"
    )
    assert (output.count("\n"), errors) == (1, "")
    assert folders(tmp_path / "data") == []


def test_a_late_decoder_makes_no_file(tmp_path: Path) -> None:
    archive = make_tiny_imagenet(tmp_path / "t.zip", images_per_class=1, broken=0)
    with pytest.raises(FileNotFoundError):
        pool.decode_rows(archive, 8, tmp_path / "gone" / "images.npy", 0, ())
    with pytest.raises(FileNotFoundError):
        pool.decode_rows(archive, 8, tmp_path / "images.npy", 0, ())
    assert not (tmp_path / "images.npy").exists()


@many_cores
def test_no_decoder_is_left(tmp_path: Path) -> None:
    archive = make_tiny_imagenet(tmp_path / "t.zip", images_per_class=150, broken=0)
    prepare("tiny-imagenet", size=64, root=tmp_path / "data", source=str(archive))
    assert not decoders(os.getpid())


@many_cores
def test_two_threads_at_once(tmp_path: Path) -> None:
    archive = str(make_tiny_imagenet(tmp_path / "t.zip", images_per_class=200, broken=0))
    with ThreadPoolExecutor(2) as threads:
        jobs = [threads.submit(prepare, "tiny-imagenet", size=size, root=tmp_path / "data", source=archive) for size in (32, 48)]
    assert [len(job.result().images) for job in jobs] == [800, 800]


UNGUARDED = """
from pathlib import Path
print("main", flush=True)
from data_prep import prepare
print(len(prepare("tiny-imagenet", size=64, root=Path("data"), source="t.zip").images))
"""


def test_the_main_module_is_imported_once(tmp_path: Path) -> None:
    make_tiny_imagenet(tmp_path / "t.zip", images_per_class=150, broken=0)
    (tmp_path / "script.py").write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("main\n600\n", "")


BUILD_ONCE = """
from pathlib import Path
from data_prep import prepare
from data_prep.core import prepare as module
original = module.build
def build(*args):
    with open("builds", "a") as file:
        file.write("one\\n")
    return original(*args)
module.build = build
print(prepare("tiny-imagenet", size=64, root=Path("data"), source="t.zip").fingerprint)
"""


def test_two_at_once_prepare_once(tmp_path: Path) -> None:
    make_tiny_imagenet(tmp_path / "t.zip", images_per_class=1000, broken=0)
    command = [sys.executable, "-c", BUILD_ONCE]
    processes = [subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = {process.communicate()[0] for process in processes}
    assert len(outputs) == 1
    assert (tmp_path / "builds").read_text() == "one\n"
    assert len(folders(tmp_path / "data")) == 1


def test_in_processes_and_in_this_one_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = str(make_tiny_imagenet(tmp_path / "t.zip", images_per_class=200, broken=8))

    def at(root: str) -> Dataset:
        return prepare("tiny-imagenet", size=48, root=tmp_path / root, source=archive)

    many = at("many")
    monkeypatch.setattr(pool, "FEW_FILES", 10_000)
    assert at("one").fingerprint == many.fingerprint
    assert len(many.images) == 792


def test_sync_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_prep.core import npy

    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    npy.sync_folder(tmp_path)
    assert synced == [tmp_path.stat().st_ino]


def test_drop_rows_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_prep.core import npy

    monkeypatch.setattr(npy, "_BLOCK_BYTES", 100)
    rows = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    for dropped in ([], [0], [49], [3, 4, 20], list(range(49)), list(range(50))):
        file = os.open(tmp_path / "images.npy", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        npy.write_rows(file, 0, 4, rows.data.cast("B"))
        npy.finish(file, npy.drop_rows(file, dropped, 50, 4), 4)
        os.close(file)
        np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), np.delete(rows, dropped, axis=0))
