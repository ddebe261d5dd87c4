"""Executors: every run is executed once, errors state a fix, and no finished run is lost."""

import json
import os
import signal
import socket
import sys
import threading
import time

import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.errors import ConfigError, RunError
from dimlift.records.record import load_records
from dimlift.studies.attempt import run_job
from dimlift.studies.compare import compare, planned_runs
from dimlift.studies.executors.dispatch import make_executor
from dimlift.studies.executors.job import Job, make_jobs, run_job_json
from dimlift.studies.executors.processes import process_executor
from dimlift.studies.executors.ray import _remote_function, ray_executor
from dimlift.studies.executors.slurm import slurm_executor
from small_runs import study_config


def attempts(out):
    """Return the number of attempts of each run."""
    return {path.name: len(path.read_text().splitlines()) for path in (out / "attempts").iterdir()}


@pytest.fixture
def jobs(data, tmp_path):
    (tmp_path / "study").mkdir()
    return make_jobs(planned_runs(study_config(data)), open_dataset(data), tmp_path / "study")


def test_job_json_round_trip_keeps_run_id(jobs):
    for job in jobs:
        back = Job.from_json(job.to_json())
        assert back == job
        assert back.config.run_id(job.manifest) == job.run_id


@pytest.mark.slow
def test_process_executor_matches_results_of_this_process(data, tmp_path):
    config = study_config(data, seeds=[0])
    here = {r.run_id: r for r in compare(config, tmp_path / "here")}
    there = {r.run_id: r for r in compare(config, tmp_path / "there", executor=process_executor(2))}
    assert there.keys() == here.keys()
    for run_id, record in there.items():
        assert record.scores == here[run_id].scores
        assert [p["loss"] for p in record.history] == [p["loss"] for p in here[run_id].history]
    events = []
    compare(config, tmp_path / "there", events.append, executor=process_executor(2))
    assert set(attempts(tmp_path / "there").values()) == {1}
    assert "2 of 2 runs are finished already" in [event.message for event in events]


def failing_executor(jobs, resources):
    """Report every job as lost: the first one before, the others after the record is written."""
    for number, job in enumerate(jobs):
        if number:
            run_job_json(job.to_json())
        yield job, "the node died"


def test_lost_job_becomes_failed_record_and_finished_record_is_kept(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = study_config(data, seeds=[0])
    lost, kept = compare(config, tmp_path / "study", executor=failing_executor)
    assert (lost.status, lost.extra["reason"], kept.status) == ("failed", "the node died", "finished")
    executed = []

    def recording_executor(jobs, resources):
        for job in jobs:
            executed.append(job.run_id)
            yield job, run_job_json(job.to_json())

    assert [r.status for r in compare(config, tmp_path / "study", executor=recording_executor)].count("finished") == 2
    assert executed == [lost.run_id]


def test_run_job_twice_at_once_trains_once(jobs, data, monkeypatch):
    """The second call waits, finds the record of the first, and does not train."""
    job, dataset = jobs[0], open_dataset(data)
    from dimlift.studies import run

    trained = []
    original = run.train_run

    def slow_train_run(*arguments):
        trained.append(1)
        time.sleep(0.5)
        return original(*arguments)

    monkeypatch.setattr(run, "train_run", slow_train_run)
    threads = [threading.Thread(target=run_job, args=(job.config, dataset, job.out)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trained) == 1
    assert attempts(job.out) == {job.run_id: 1}


def test_run_job_json_rejects_other_files_and_missing_folders(jobs, monkeypatch):
    from dataclasses import replace

    monkeypatch.chdir(jobs[0].out)
    assert "finds other files" in run_job_json(replace(jobs[0], file_size_hash="0").to_json())
    assert "use storage shared by all machines" in run_job_json(replace(jobs[0], out=jobs[0].out / "no").to_json())
    assert not (jobs[0].out / "attempts").exists()


@pytest.mark.slow
def test_slurm_executor_runs_each_job_once(data, tmp_path):
    out = tmp_path / "study"
    executor = slurm_executor(scheduler="local", poll_interval=0.2)
    records = compare(
        study_config(data, seeds=[0], arms={"one": {"method": "unet", "widths": [4, 8]}}), out, executor=executor
    )
    assert [r.status for r in records] == ["finished"]
    assert set(attempts(out).values()) == {1}


SBATCH = """#!/bin/sh
cp "$1" "{folder}/script"
exit 1
"""


def test_slurm_executor_requests_resources(data, tmp_path, monkeypatch):
    for name in ("sbatch", "srun"):
        (tmp_path / name).write_text(SBATCH.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    wanted = {"gpus": 1, "cpus": 4, "memory": "32GiB", "minutes": 90, "partition": "long"}
    with pytest.raises(RunError, match="sbatch rejected the jobs"):
        compare(study_config(data, resources=wanted), tmp_path / "study", executor=slurm_executor(2))
    script = (tmp_path / "script").read_text()
    for line in ("array=0-3%2", "cpus-per-task=4", "gpus-per-node=1", "mem=32GB", "partition=long", "time=90"):
        assert f"#SBATCH --{line}\n" in script


def test_slurm_executor_requires_sbatch(data, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="login node"):
        compare(study_config(data), tmp_path / "study", executor=slurm_executor())


@pytest.mark.parametrize("address", ["ray://127.0.0.1:{closed}", "ray://nowhere"])
def test_ray_executor_rejects_unreachable_address(data, tmp_path, address):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    with pytest.raises(RunError, match=r"ray://HOST:10001"):
        compare(study_config(data), tmp_path / "study", executor=ray_executor(address.format(closed=closed)))
    assert not list((tmp_path / "study").glob("records/*"))


def test_ray_node_without_dimlift_is_reported(jobs, monkeypatch):
    monkeypatch.setitem(sys.modules, "dimlift.studies.executors.job", None)
    kind, message = _remote_function()(jobs[0].to_json())
    assert kind == "not installed"
    assert "cannot import dimlift" in message


def test_make_executor_rejects_unknown_names():
    with pytest.raises(ConfigError, match="choose local, ray, ray://HOST:10001 or slurm"):
        make_executor("kubernetes")
    with pytest.raises(ConfigError, match="resources"):
        make_executor("ray", 4)
    assert make_executor("local") is None


@pytest.mark.slow
def test_process_executor_survives_killed_job(data, tmp_path):
    """The first process is killed; the study continues, and a second call runs what is missing."""
    config, out = study_config(data, seeds=[0]), tmp_path / "study"
    ended = threading.Event()

    def kill_first_job():
        while not ended.is_set():
            for path in (out / "attempts").glob("*") if (out / "attempts").is_dir() else ():
                if lines := path.read_text().splitlines():
                    os.kill(json.loads(lines[0])["process"], signal.SIGKILL)
                    return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_first_job)
    killer.start()
    first, second = compare(config, out, executor=process_executor(1))
    ended.set()
    killer.join()
    assert (first.status, second.status) == ("failed", "finished")
    assert "killed" in first.extra["reason"]
    compare(config, out, executor=process_executor(1))
    assert attempts(out) == {first.run_id: 2, second.run_id: 1}
    assert {r.status for r in load_records(out / "records")} == {"finished"}
