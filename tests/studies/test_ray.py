"""A study on a real Ray cluster of two nodes on loopback, one of which is killed."""

import json
import os
import threading
import time

import psutil
import pytest

from dimlift.records.record import load_records
from dimlift.studies.compare import compare
from dimlift.studies.executors.ray import ray_executor
from small_runs import study_config

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(monkeypatch):
    """A head and a second node, each with one CPU."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_health_check_period_ms", "500")
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # makes Ray use the loopback address
    pytest.importorskip("ray")
    from ray._private import ray_constants
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)  # the same, if ray is already imported
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "node_ip_address": "127.0.0.1"}
    found = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    found.second = found.add_node(**node)
    yield found
    found.shutdown()


def parent_ids(process):
    """Return the ids of all parents of a process."""
    return {parent.pid for parent in psutil.Process(process).parents()}


def started_runs(out):
    """Return the process id of the last attempt of each run."""
    found = {}
    for path in (out / "attempts").glob("*"):
        if lines := path.read_text().splitlines():
            found[path.name] = json.loads(lines[-1])["process"]
    return found


def test_study_survives_killed_ray_node(cluster, data, tmp_path):
    out = tmp_path / "study"
    raylet = cluster.second.all_processes["raylet"][0].process.pid
    interrupted, ended = [], threading.Event()

    def kill_second_node():
        while not ended.is_set():
            for run_id, process in started_runs(out).items():
                if psutil.pid_exists(process) and raylet in parent_ids(process):
                    interrupted.append(run_id)
                    cluster.remove_node(cluster.second, allow_graceful=False)
                    return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_second_node)
    killer.start()
    config = study_config(data, budget={"steps": 300}, seeds=[0, 1])
    records = compare(config, out, executor=ray_executor(cluster.address))
    ended.set()
    killer.join()
    assert len(interrupted) == 1
    assert [record.status for record in records] == ["finished"] * 4
    assert sorted(r.run_id for r in load_records(out / "records")) == sorted({r.run_id for r in records})
    attempts = {path.name: len(path.read_text().splitlines()) for path in (out / "attempts").iterdir()}
    assert attempts == {record.run_id: 1 + (record.run_id in interrupted) for record in records}
    again = compare(config, out, executor=expect_no_jobs)
    assert {r.run_id for r in again} == {r.run_id for r in records}


def expect_no_jobs(jobs, resources):
    assert jobs == []
    yield from ()


def test_ray_executor_rejects_unavailable_resources(cluster, data, tmp_path):
    from dimlift.errors import RunError

    with pytest.raises(RunError, match=r"no machine of the cluster has the resources .* Lower `resources`"):
        compare(study_config(data, resources={"gpus": 64}), tmp_path / "study", executor=ray_executor(cluster.address))
    assert os.listdir(tmp_path) in ([], ["study"])
