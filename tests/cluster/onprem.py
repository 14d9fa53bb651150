"""A cluster by the project's own `cluster-onprem.yaml` and a real `ray up`: a head and two workers, seen from a laptop."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from sweeps.core.journal import read_state
from sweeps.core.state import RunState
from sweeps.core.storage import RunStorage
from tests.cluster.filled import filled_onprem
from tests.cluster.machines import ADDRESSES, SHARE, CannotBeMade, Lab, Machine, not_tested

ROOT = Path(__file__).parents[2]
STORAGE, RESULTS = f"{SHARE}/runs", f"{SHARE}/results"
# GPUs that are none, to place trials by: one a worker. And less memory than Ray would take of a machine that it believes its own.
WORKER = ("ray start --address", "ray start --num-cpus=2 --num-gpus=1 --object-store-memory=100000000 --address")
HEAD = ("ray start --head", "ray start --object-store-memory=100000000 --head")
NODES = "import ray; ray.init('auto', logging_level='ERROR'); print('ALIVE', sum(node['Alive'] for node in ray.nodes()))"
UP = "RAY_UP_enable_autoscaler_v2=0 ray up --yes --no-config-cache cluster-onprem.yaml"
METRICS = ["trial_id", "epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy"]


def filled_in(text: str) -> str:
    """The cluster file as a user of these machines would have it."""
    text = filled_onprem(text, ADDRESSES["head"], (ADDRESSES["worker-1"], ADDRESSES["worker-2"]), "root")
    for found, meant in (WORKER, HEAD):
        assert text.count(found) == 1, found
        text = text.replace(found, meant)
    return text


class Cluster:
    """The machines, and what is asked of them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.head, self.laptop = lab["head"], lab["laptop"]
        self.folder = lab.share

    def bring_up(self) -> None:
        """`ray up` from the laptop, until all three are there."""
        # Ray's note there of what the head has been given: it would be believed of an empty disk, too.
        self.laptop.run("rm -f /tmp/ray/cluster-*.state")
        self.laptop.run(f"cd keras-sweeps && {UP} 2>&1", 240)
        self.wait(lambda: self.alive() == 3, "the workers did not come", 240)

    def begin_anew(self) -> None:
        """All but the laptop off and on again, with empty disks, then `ray up`: Ray sets no machine of `provider: local` up a second time by itself."""
        names = [name for name in ADDRESSES if name != "laptop"]
        for name in names:
            self.lab[name].kill()
        self.lab.start(*names)
        self.bring_up()

    def alive(self) -> int:
        """Machines of the cluster, by Ray's own account."""
        return int(self.head.run(f'python -c "{NODES}" 2>/dev/null').split("ALIVE")[1].split()[0])  # the autoscaler's tips may follow

    def wait(self, condition: Callable[[], bool], complaint: str, seconds: float = 120.0) -> float:
        """Until it holds; the seconds that it took."""
        began = time.monotonic()
        while not condition():
            assert time.monotonic() < began + seconds, complaint
            time.sleep(0.2)
        return time.monotonic() - began

    def submit(self, name: str, words: str) -> None:
        """`ray job submit` on the head, as the laptop would ask for it; the job goes on."""
        job = f"ray job submit --address http://127.0.0.1:8265 --submission-id {name} --no-wait -- {words}"
        self.laptop.run(f"cd keras-sweeps && ray exec --no-config-cache cluster-onprem.yaml '{job}' 2>&1")

    def job_ends(self, name: str, seconds: float = 240.0) -> str:
        """Wait for a good end of it; what it printed."""
        shown = self.head.run(f"timeout {seconds} ray job logs --address http://127.0.0.1:8265 --follow {name} 2>&1", seconds + 30)
        status = self.head.run(f"ray job status --address http://127.0.0.1:8265 {name} 2>&1")
        assert "succeeded" in status, shown[-6000:] + status
        return shown

    def state(self, run: str) -> RunState:
        """What the run's journal tells now."""
        storage = RunStorage(str(self.folder / "runs"), run)
        return read_state(storage) if storage.exists() else RunState()

    def results(self, run: str, results: str = "results") -> pd.DataFrame:
        """The curves that were exported."""
        epochs = pd.read_parquet(self.folder / results / "epochs")
        return epochs[epochs["run"] == run].sort_values(["trial_id", "epoch"])[METRICS].reset_index(drop=True)

    def machine(self, node: str) -> Machine:
        """The one of that host name."""
        return self.lab[node]


@contextmanager
def onprem(folder: Path) -> Iterator[Cluster]:
    """The machines, with the project on the laptop and no Ray yet. Fails, loudly, in CI, and skips elsewhere, where they cannot be made."""
    try:
        lab = Lab(folder)
    except CannotBeMade as error:
        not_tested(error)
    try:
        away = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "data", "runs", "results", "*.egg-info")
        shutil.copytree(ROOT, lab.image / "keras-sweeps-of-laptop", ignore=away)
        file = lab.image / "keras-sweeps-of-laptop" / "cluster-onprem.yaml"
        file.write_text(filled_in(file.read_text()))
        lab.start(*ADDRESSES)
        laptop = lab["laptop"]
        laptop.run("mv keras-sweeps-of-laptop keras-sweeps && echo 'export PATH=~/venv/bin:$PATH RAY_AUTH_MODE=token' >> .bashrc")
        laptop.run("ray get-auth-token --generate")
        yield Cluster(lab)
    finally:
        lab.close()
