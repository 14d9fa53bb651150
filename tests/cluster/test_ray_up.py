"""A real `ray up` of our own cluster file on three machines, a run over both workers, and what becomes of runs when machines are lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from sweeps.core.state import RunState
from tests.cluster.machines import HOME, SHARE
from tests.cluster.onprem import RESULTS, STORAGE, Cluster, onprem

pytestmark = pytest.mark.cluster

# A trial has a GPU, and a worker has one: two trials at a time, a worker each. In trial order, so that runs can be compared; none is stopped early.
TRIALS, EPOCHS = 8, 12
SWEEP = """from sweeps import Sweep, uniform
SWEEP = Sweep(question="How much dropout?", trainable="cnn", space={"dropout": uniform(0.0, 0.7)}, searcher="random", scheduler="none")
"""
RUN = (
    f"sweeps run {SHARE}/mine.py --data digits --data-root {SHARE}/data --storage {STORAGE} --results {RESULTS} --address auto "
    f"--samples {TRIALS} --epochs {EPOCHS} --set size=16 --set filters=16 --gpus 1 --deterministic --run-name "
)
# What the issue asks for: seconds from a machine's loss until its trial goes on elsewhere.
ELSEWHERE_SECONDS = 30.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with onprem(tmp_path_factory.mktemp("lab")) as made:
        made.bring_up()
        (made.folder / "mine.py").write_text(SWEEP)
        made.submit("calm", RUN + "calm")
        made.job_ends("calm")
        yield made


def reported_once(state: RunState, cluster: Cluster, run: str) -> None:
    rows = pd.read_json(cluster.folder / "runs" / run / "journal.jsonl", lines=True)
    results = rows[rows["kind"] == "result"]
    assert not results.duplicated(["trial", "epoch"]).any()
    assert len(results) == sum(len(trial.epochs) for trial in state.trials.values()) == TRIALS * EPOCHS


def last_node(state: RunState, trial: int) -> str | None:
    epochs = state.trials[trial].epochs if trial in state.trials else {}
    return epochs[max(epochs)]["node"] if epochs else None


def test_trials_are_on_both_workers(cluster: Cluster) -> None:
    state = cluster.state("calm")
    nodes = {row["node"] for trial in state.trials.values() for row in trial.epochs.values()}
    assert nodes == {"worker-1", "worker-2"}, "none on the head"
    assert [trial.status for trial in state.trials.values()] == ["completed"] * TRIALS
    assert cluster.results("calm").shape[0] == TRIALS * EPOCHS


def test_every_machine_is_looked_at(cluster: Cluster) -> None:
    shown = cluster.head.run(f"sweeps doctor --address auto --storage {STORAGE} --data-root {SHARE}/data --gpus 1 2>&1", code=1)
    lines = [line.split() for line in shown.splitlines() if line.startswith(("ok", "FAIL"))]
    assert {line[1] for line in lines} == {"head", "worker-1", "worker-2"}
    # Ray was told of GPUs that are none.
    assert {(line[1], line[2]) for line in lines if line[0] == "FAIL"} == {("worker-1", "GPUs:"), ("worker-2", "GPUs:")}


@pytest.mark.parametrize("place", ["head", "laptop"])
def test_results_are_read_on_the_head_and_on_a_laptop_with_the_storage(cluster: Cluster, place: str, tmp_path: Path) -> None:
    """The laptop is no part of the cluster."""
    machine = cluster.lab[place]
    machine.run(f"mkdir -p elsewhere && cd elsewhere && sweeps export calm --storage {STORAGE}")
    assert "finished" in machine.run(f"sweeps status calm --storage {STORAGE}")
    assert "Best of calm" in machine.run(f"cd elsewhere && sweeps best calm --storage {STORAGE} --save best.keras 2>&1")
    machine.run(f"cd elsewhere && test -s best.keras && sweeps report && test -s results/report.html && cp -r results {SHARE}/{place}")
    pd.testing.assert_frame_equal(cluster.results("calm", place), cluster.results("calm"), check_exact=True)


def test_frozen_layers_are_computed_on_one_machine_and_fetched_by_the_others(cluster: Cluster) -> None:
    """Machines with disks of their own."""
    words = (
        "--data digits --set base=vgg16 --set weights=random --set size=32 --epochs 1 --samples 2 --gpus 1 --deterministic "
        f"--data-root {HOME}/data --storage {STORAGE} --results {RESULTS} --address auto --run-name "
    )
    workers = [cluster.lab[name] for name in ("worker-1", "worker-2")]
    computed = {}
    for run in ("frozen", "fetched"):
        cluster.submit(run, f"sweeps run transfer {words}{run}")
        cluster.job_ends(run)
        assert {row["node"] for trial in cluster.state(run).trials.values() for row in trial.epochs.values()} == {"worker-1", "worker-2"}
        computed[run] = sum(stage["computed"] for trial in cluster.state(run).trials.values() for stage in trial.stages)
        for worker in workers:
            worker.run(f"ls -d {HOME}/data/features/*/features.npy && rm -rf {HOME}/data/features")
    assert computed["frozen"] > 0
    assert computed["fetched"] == 0, "of disks without features"
    pd.testing.assert_frame_equal(cluster.results("fetched"), cluster.results("frozen"), check_exact=True)


def test_an_unplugged_worker_s_trial_goes_on_elsewhere(cluster: Cluster) -> None:
    """Silently, as a machine goes whose power is cut."""
    cluster.submit("unplugged", RUN + "unplugged")
    cluster.wait(lambda: last_node(cluster.state("unplugged"), 1) is not None, "no epoch was reported")
    state = cluster.state("unplugged")
    lost = cluster.lab[last_node(state, 1) or ""]
    had = state.trials[1].last_epoch
    lost.unplug()
    lost.kill()

    def goes_on() -> bool:
        now = cluster.state("unplugged")
        return now.moved > 0 and len(now.trials[1].starts) > 1

    assert cluster.wait(goes_on, "the trial did not go on") < ELSEWHERE_SECONDS
    cluster.job_ends("unplugged")
    state = cluster.state("unplugged")
    assert state.trials[1].last_epoch > had
    assert [trial.status for trial in state.trials.values()] == ["completed"] * TRIALS
    reported_once(state, cluster, "unplugged")
    pd.testing.assert_frame_equal(cluster.results("unplugged"), cluster.results("calm"), check_exact=True)
    cluster.begin_anew()


# What a spot machine asks itself: it answers as EC2 does once the file is there.
EC2 = """
import http.server, pathlib
class Metadata(http.server.BaseHTTPRequestHandler):
    def answer(self, code, text):
        self.send_response(code); self.end_headers(); self.wfile.write(text)
    def do_PUT(self):
        self.answer(200, b"token")
    def do_GET(self):
        noticed = pathlib.Path("/tmp/noticed").exists() and self.headers["X-aws-ec2-metadata-token"] == "token"
        self.answer(200 if noticed else 404, b"")
http.server.HTTPServer(("127.0.0.1", 8009), Metadata).serve_forever()
"""


# As cluster.yaml starts it, but for where it asks, and how often.
HEAR = "from sweeps.core import notice; notice.LOOK_SECONDS = 0.2; notice.watch('http://127.0.0.1:8009')"


def test_a_spot_machine_s_notice_gives_its_trials_back(cluster: Cluster) -> None:
    """Before the machine goes: that is no failure, and not even an epoch is lost."""
    spot = cluster.lab["worker-2"]
    for name, program in {"ec2.py": EC2, "hear.py": HEAR}.items():
        (cluster.folder / name).write_text(program)
        spot.run(f"setsid -f python {SHARE}/{name} > /dev/null 2>&1 < /dev/null")
    cluster.submit("noticed", RUN + "noticed")
    cluster.wait(lambda: cluster.state("noticed").trained_epochs > 0, "no epoch was reported")
    spot.run("touch /tmp/noticed")
    cluster.wait(lambda: cluster.state("noticed").moved > 0, "no trial was given back", ELSEWHERE_SECONDS)
    spot.kill()
    cluster.job_ends("noticed")
    state = cluster.state("noticed")
    assert [trial.status for trial in state.trials.values()] == ["completed"] * TRIALS
    rows = pd.read_json(cluster.folder / "runs" / "noticed" / "journal.jsonl", lines=True)
    assert set(rows[rows["kind"] == "moved"]["reason"]) == {"NodeLeaving"}
    reported_once(state, cluster, "noticed")
    pd.testing.assert_frame_equal(cluster.results("noticed"), cluster.results("calm"), check_exact=True)
    cluster.begin_anew()


def test_a_head_that_comes_back_with_an_empty_disk_finishes_the_run(cluster: Cluster) -> None:
    cluster.submit("headless", RUN + "headless")
    cluster.wait(lambda: cluster.state("headless").trained_epochs >= 3, "no epoch was reported")
    cluster.head.kill()
    before = cluster.state("headless")
    cluster.lab.start("head")
    cluster.bring_up()
    cluster.submit("again", f"sweeps resume headless --storage {STORAGE} --results {RESULTS} --data-root {SHARE}/data --address auto")
    cluster.job_ends("again")
    state = cluster.state("headless")
    assert state.interruptions == 1
    assert before.trained_epochs < TRIALS * EPOCHS
    reported_once(state, cluster, "headless")
    pd.testing.assert_frame_equal(cluster.results("headless"), cluster.results("calm"), check_exact=True)


def test_an_autokeras_search_goes_on_on_another_machine(cluster: Cluster) -> None:
    """All of the cluster is gone: one that has only the storage goes on, without a cluster. The data set is on the disks of the machines alone, each of
    which copies it from the storage."""
    words = f"--storage {STORAGE} --results {RESULTS} --data-root {HOME}/data"
    search = "--data digits --samples 2 --epochs 10 --seed 1 --set size=16 --gpus 0"
    cluster.submit("search", f"sweeps run autokeras {search} {words} --address auto --run-name search")
    cluster.wait(lambda: last_node(cluster.state("search"), 2) is not None, "the second candidate was not begun")
    for name in ("head", "worker-1", "worker-2"):
        cluster.lab[name].kill()
    before = cluster.state("search")
    assert not before.trials[2].end
    assert (cluster.folder / "runs" / ".data").is_dir()
    assert "data" not in cluster.laptop.run("ls").split()
    cluster.laptop.run(f"sweeps resume search {words} 2>&1", 240)
    state = cluster.state("search")
    first, second, fit = state.trials.values()
    assert [trial.status for trial in (first, second, fit)] == ["completed"] * 3
    assert fit.final_of in (1, 2)
    assert [trial.config for trial in (first, second)] == [trial.config for trial in before.trials.values()]
    assert first.epochs == before.trials[1].epochs, "it is not trained again"
    assert before.trials[2].epochs.items() <= second.epochs.items()
    nodes = {row["node"] for trial in (first, second) for row in trial.epochs.values()}
    assert (second.epochs[second.last_epoch]["node"], fit.epochs[1]["node"]) == ("laptop", "laptop")
    assert nodes & {"worker-1", "worker-2"}
    rows = pd.read_json(cluster.folder / "runs" / "search" / "journal.jsonl", lines=True)
    assert not rows[rows["kind"] == "result"].duplicated(["trial", "epoch"]).any()
    assert rows[rows["kind"] == "suggest"]["trial"].tolist() == [1, 2, 3], "nor asked for"
