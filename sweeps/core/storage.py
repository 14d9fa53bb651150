"""The folder of a run on the storage: every path in it is written here and nowhere else."""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from filelock import FileLock, Timeout
from pyarrow import fs
from pydantic import ValidationError

from data_prep import BadInput
from sweeps.core.lease import Lease, held
from sweeps.core.spec import RunSpec
from sweeps.core.sweep import NAME, NAME_RULE
from trainables.core import datasets, files, shelf

STUDY = "study.json"


def dataset_place(storage: str, name: str) -> str:
    """Path or URI of the folder of a data set on the storage, from where machines copy it; one for all runs."""
    return _place(storage, f"{datasets.FOLDER}/{name}")


def features_place(storage: str) -> str:
    """Path or URI of the folder on the storage by which machines exchange features of frozen layers; one for all runs."""
    return _place(storage, shelf.FOLDER)


def _place(storage: str, inside: str) -> str:
    system, base = files.resolve(storage)
    if files.is_local(system):
        return f"{base.rstrip('/')}/{inside}"
    # A URI may end in options: s3://bucket/runs?region=eu-west-1.
    uri, mark, options = storage.partition("?")
    return f"{uri.rstrip('/')}/{inside}{mark}{options}"


class RunStorage:
    """`<storage>/<run>/`: run.json, the journal, the checkpoints, and the bases that trials start from."""

    def __init__(self, storage: str, run: str) -> None:
        if not NAME.fullmatch(run):
            raise BadInput(f"a run's {NAME_RULE}, but got {run!r}: give another name")
        self.root, self.run = storage, run
        self.system, base = files.resolve(storage)
        self.folder = f"{base.rstrip('/')}/{run}"
        self.local = files.is_local(self.system)

        self.lease: Lease | None = None

    @property
    def shown(self) -> str:
        """The storage, to be shown."""
        return files.shown(self.root)

    @property
    def location(self) -> str:
        """The run's folder as its storage was given, to be shown."""
        return f"{self.root.rstrip('/')}/{self.run}" if self.local else files.shown(self._at(""))

    def _at(self, inside: str) -> str:
        return _place(self.root, f"{self.run}{inside}")

    def trial_checkpoints(self, trial_id: str) -> str:
        """Path or URI of the folder of a trial's checkpoints."""
        return self._at(f"/checkpoints/{trial_id}")

    @property
    def bases_folder(self) -> str:
        """Path or URI of the folder of the networks that its trials start from."""
        return self._at("/bases")

    def base_file(self, name: str) -> str:
        """Path or URI of one of them."""
        return self._at(f"/bases/{name}")

    @property
    def study_file(self) -> str:
        """What a study is: its parts are runs of their own."""
        return f"{self.folder}/{STUDY}"

    def is_study(self) -> bool:
        """Whether there is a study of that name, not a run."""
        with _one_line_errors(self.root):
            return STUDY in files.names(self.system, self.folder)

    def read_study(self) -> bytes:
        """The content of its file."""
        with _one_line_errors(self.root):
            return files.read(self.system, self.study_file)

    def exists(self) -> bool:
        """Whether there is such a run."""
        with _one_line_errors(self.root):
            return "run.json" in files.names(self.system, self.folder)

    def create(self, spec: RunSpec) -> None:
        """Write run.json; BadInput when the run exists or the storage cannot be written."""
        self.check_new()
        self.replace(spec)

    def replace(self, spec: RunSpec) -> None:
        """Write run.json anew; BadInput when the storage cannot be written."""
        self.write(f"{self.folder}/run.json", spec.model_dump_json(indent=1).encode())

    def check_new(self) -> None:
        """BadInput when there is such a run already."""
        if self.exists() or self.is_study():
            raise BadInput(
                f"a new run needs a new name, but there is a run {self.run!r} in {self.shown}: resume it, or give another --run-name"
            )

    def write(self, path: str, content: bytes) -> None:
        """Replace a file; BadInput when the storage cannot be written."""
        try:
            files.write(self.system, path, content)
        except OSError as error:
            raise BadInput(
                f"the storage must be writable, but {self.shown!r} is not ({files.reason(error)}): give another --storage"
            ) from None

    def check_writable(self) -> None:
        """BadInput unless files can be made in the storage. Leaves nothing behind."""
        if not self.local:
            files.patience()
        probe = f"{posixpath.dirname(self.folder)}/.probe-{uuid.uuid4().hex}"
        self.write(probe, b"")
        with _one_line_errors(self.root):
            self.system.delete_file(probe)

    def spec(self) -> RunSpec:
        """What run.json says; BadInput when there is no such run or it cannot be read."""
        if not self.exists():
            raise BadInput(f"there is no run {self.run!r} in {self.shown}: {_known(self.root)}")
        try:
            with _one_line_errors(self.root):
                spec = RunSpec.model_validate_json(files.read(self.system, f"{self.folder}/run.json"))
        except (ValidationError, UnicodeDecodeError) as error:
            first = str(error).splitlines()
            raise BadInput(
                f"run.json must be one that this version wrote, but that of {self.run} is not ({' '.join(first[1:3])}): restore it"
            ) from None
        if spec.run != self.run:
            # A copy of a folder: its results would take the place of the other run's.
            raise BadInput(f"run.json is that of its folder's run, but in {self.run} it is that of {spec.run!r}: rename the folder to that")
        try:
            spec.sweep.config({}, spec.seed)
        except BadInput as error:
            raise BadInput(f"run.json must be one that this version wrote, but that of {self.run} is not ({error}): restore it") from None
        return spec

    @property
    def _lease(self) -> str:
        return f"{self.folder}/lease.json"

    def in_use(self) -> bool | None:
        """Whether a process runs the run now; None where that cannot be told."""
        if not self.local:
            with _one_line_errors(self.root):
                return held(self.system, self._lease)
        try:
            FileLock(f"{self.folder}/.lock").acquire(timeout=0).lock.release()
        except Timeout:
            return True
        except OSError:
            return None
        return False

    def lock(self, tell: Callable[[str], Any] = print) -> AbstractContextManager[object]:
        """Held by the process that runs or resumes it; BadInput when another one does. `tell`: what a user should know who has to wait for that."""
        if not self.local:
            return self._leased(tell)
        lock = FileLock(f"{self.folder}/.lock")
        try:
            # `status` holds it for a moment to see whether anyone does.
            return lock.acquire(timeout=1)
        except Timeout:
            raise BadInput(
                f"one process at a time runs a run, but {self.run} is running already: watch it with `sweeps status {self.run}`"
            ) from None
        except OSError as error:
            raise BadInput(
                f"a run's folder is written while it runs, but '{self.folder}' cannot be ({files.reason(error)}): give yourself the rights, or copy it"
            ) from None

    def check_free(self) -> None:
        """BadInput where another process runs it, before anything is started: on a disk that is told at once, on an object store by `lock`, which waits."""
        if self.local:
            with self.lock():
                pass

    @contextmanager
    def _leased(self, tell: Callable[[str], Any]) -> Iterator[None]:
        with ExitStack() as stack:
            with _one_line_errors(self.root):
                self.lease = stack.enter_context(Lease(self.system, self._lease, self.run, tell))
            yield


@contextmanager
def _one_line_errors(storage: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        given = files.shown(storage)
        raise BadInput(
            f"the storage must be one that can be read, but {given!r} gave {files.reason(error)}: give another --storage"
        ) from None


def run_names(storage: str) -> list[str]:
    """Runs in the storage, oldest first."""
    system, base = files.resolve(storage)
    with _one_line_errors(storage):
        infos = system.get_file_info(fs.FileSelector(base, allow_not_found=True))
        folders = [info for info in infos if info.type == fs.FileType.Directory and NAME.fullmatch(info.base_name)]
        runs = [(spec.mtime, folder.base_name) for folder in folders if (spec := system.get_file_info(f"{folder.path}/run.json")).is_file]
    return [name for _, name in sorted(runs)]


def _known(storage: str) -> str:
    known = run_names(storage)
    return (
        f"there {'are' if len(known) > 1 else 'is'} {', '.join(known[-5:])}"
        if known
        else "it holds no runs; give --storage, or start one by `sweeps run`"
    )
