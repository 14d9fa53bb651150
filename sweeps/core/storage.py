"""The folder of a run on the storage: every path in it is written here and nowhere else."""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from filelock import FileLock, Timeout
from pyarrow import fs
from pydantic import ValidationError

from data_prep import BadInput
from sweeps.core.spec import RunSpec
from sweeps.core.sweep import NAME, NAME_RULE
from trainables.core import files

STUDY = "study.json"


class RunStorage:
    """`<storage>/<run>/`: run.json, the journal, the checkpoints, and the bases that trials start from."""

    def __init__(self, storage: str, run: str) -> None:
        if not NAME.fullmatch(run):
            raise BadInput(f"a run's {NAME_RULE}, but got {run!r}: give another name")
        self.root, self.run = storage, run
        self.system, base = files.resolve(storage)
        self.folder = f"{base.rstrip('/')}/{run}"
        self.local = files.is_local(self.system)

    @property
    def location(self) -> str:
        """The run's folder as its storage was given: a path or URI to show."""
        return f"{self.root.rstrip('/')}/{self.run}" if self.local else self._at("")

    def _at(self, inside: str) -> str:
        if self.local:
            return f"{self.folder}{inside}"
        # A URI may end in options: s3://bucket/runs?region=eu-west-1.
        uri, mark, options = self.root.partition("?")
        return f"{uri.rstrip('/')}/{self.run}{inside}{mark}{options}"

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
                f"a new run needs a new name, but there is a run {self.run!r} in {self.root}: resume it, or give another --run-name"
            )

    def write(self, path: str, content: bytes) -> None:
        """Replace a file; BadInput when the storage cannot be written."""
        try:
            files.write(self.system, path, content)
        except OSError as error:
            raise BadInput(
                f"the storage must be writable, but {self.root!r} is not ({error.strerror or error}): give another --storage"
            ) from None

    def check_writable(self) -> None:
        """BadInput unless files can be made in the storage. Leaves nothing behind."""
        probe = f"{posixpath.dirname(self.folder)}/.probe-{uuid.uuid4().hex}"
        self.write(probe, b"")
        with _one_line_errors(self.root):
            self.system.delete_file(probe)

    def spec(self) -> RunSpec:
        """What run.json says; BadInput when there is no such run or it cannot be read."""
        if not self.exists():
            raise BadInput(f"there is no run {self.run!r} in {self.root}: {_known(self.root)}")
        try:
            with _one_line_errors(self.root):
                return RunSpec.model_validate_json(files.read(self.system, f"{self.folder}/run.json"))
        except (ValidationError, UnicodeDecodeError) as error:
            first = str(error).splitlines()
            raise BadInput(
                f"run.json must be one that this version wrote, but that of {self.run} is not ({' '.join(first[1:3])}): restore it"
            ) from None

    def in_use(self) -> bool | None:
        """Whether a process runs the run now; None where that cannot be told (an object store has no locks)."""
        if not self.local:
            return None
        try:
            FileLock(f"{self.folder}/.lock").acquire(timeout=0).lock.release()
        except Timeout:
            return True
        except OSError:
            return None
        return False

    def lock(self) -> AbstractContextManager[object]:
        """Held by the process that runs or resumes it; BadInput when another one does. (Local storage: an object store has no locks.)"""
        if not self.local:
            return nullcontext()
        lock = FileLock(f"{self.folder}/.lock")
        try:
            # `status` holds it for a moment to see whether anyone does.
            return lock.acquire(timeout=1)
        except Timeout:
            raise BadInput(
                f"one process at a time runs a run, but {self.run} is running already: watch it with `sweeps status {self.run}`"
            ) from None


@contextmanager
def _one_line_errors(storage: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"the storage must be one that can be read, but {storage!r} gave {reason}: give another --storage") from None


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
