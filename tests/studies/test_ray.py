"""A real Ray cluster of two nodes on loopback loses one of them in the middle of a study."""

import json
import os
import threading
import time

import psutil
import pytest

from dimlift.records.record import load_records
from dimlift.studies.compare import compare
from dimlift.studies.executors.ray import ray_cluster
from small_runs import study_config

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(monkeypatch):
    """A head and a second node, each for one cell at a time."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_health_check_period_ms", "500")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # Ray then takes loopback for its own address
    pytest.importorskip("ray")
    from ray._private import ray_constants
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # the same, should ray be imported already
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "node_ip_address": "127.0.0.1"}
    found = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    found.second = found.add_node(**node)
    yield found
    found.shutdown()


def below(process):
    """Which node's process a worker belongs to."""
    return {parent.pid for parent in psutil.Process(process).parents()}


def begun(out):
    """Cells at work: their names and processes."""
    found = {}
    for path in (out / "attempts").glob("*"):
        if lines := path.read_text().splitlines():
            found[path.name] = json.loads(lines[-1])["process"]
    return found


def test_a_study_survives_a_node_that_is_killed_and_each_cell_has_one_record(cluster, data, tmp_path):
    out = tmp_path / "study"
    raylet = cluster.second.all_processes["raylet"][0].process.pid
    interrupted, ended = [], threading.Event()

    def kill_when_at_work():
        while not ended.is_set():
            for cell, process in begun(out).items():
                if psutil.pid_exists(process) and raylet in below(process):
                    interrupted.append(cell)
                    cluster.remove_node(cluster.second, allow_graceful=False)
                    return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_when_at_work)
    killer.start()
    config = study_config(data, budget={"steps": 300}, seeds=[0, 1])
    records = compare(config, out, runs=ray_cluster(cluster.address))
    ended.set()
    killer.join()
    assert len(interrupted) == 1
    assert [record.status for record in records] == ["finished"] * 4
    assert sorted(r.cell for r in load_records(out / "records")) == sorted({r.cell for r in records})
    starts = {path.name: len(path.read_text().splitlines()) for path in (out / "attempts").iterdir()}
    assert starts == {record.cell: 1 + (record.cell in interrupted) for record in records}
    again = compare(config, out, runs=lambda tasks, resources: iter_nothing(tasks))
    assert {r.cell for r in again} == {r.cell for r in records}


def iter_nothing(tasks):
    """Nobody runs anything: nothing may be missing."""
    assert tasks == []
    yield from ()


def test_a_demand_no_node_can_meet_is_refused(cluster, data, tmp_path):
    from dimlift.errors import RunError

    with pytest.raises(RunError, match=r"no machine of the cluster has .* Lower `resources`"):
        compare(study_config(data, resources={"gpus": 64}), tmp_path / "study", runs=ray_cluster(cluster.address))
    assert os.listdir(tmp_path) in ([], ["study"])
