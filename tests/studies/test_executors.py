"""Cells that run in other processes and machines: each once, refused with the way out, none lost."""

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
from dimlift.studies.attempt import attempt
from dimlift.studies.compare import compare, planned
from dimlift.studies.executors.dispatch import machines
from dimlift.studies.executors.job import Task, tasks_of, work
from dimlift.studies.executors.processes import processes
from dimlift.studies.executors.ray import _on_a_node, ray_cluster
from dimlift.studies.executors.slurm import slurm_array
from small_runs import study_config


def starts(out):
    """How often each cell was begun."""
    return {path.name: len(path.read_text().splitlines()) for path in (out / "attempts").iterdir()}


@pytest.fixture
def tasks(data, tmp_path):
    (tmp_path / "study").mkdir()
    return tasks_of(planned(study_config(data)), open_dataset(data), tmp_path / "study")


def test_a_task_travels_as_json_and_stays_the_same_cell(tasks):
    for task in tasks:
        back = Task.from_json(task.to_json())
        assert back == task
        assert back.config.cell(task.manifest) == task.cell


@pytest.mark.slow
def test_processes_run_each_cell_once_and_give_the_numbers_of_this_process(data, tmp_path):
    config = study_config(data, seeds=[0])
    here = {r.cell: r for r in compare(config, tmp_path / "here")}
    there = {r.cell: r for r in compare(config, tmp_path / "there", runs=processes(2))}
    assert there.keys() == here.keys()
    for cell, record in there.items():
        assert record.scores == here[cell].scores
        assert [p["loss"] for p in record.history] == [p["loss"] for p in here[cell].history]
    events = []
    compare(config, tmp_path / "there", events.append, runs=processes(2))
    assert set(starts(tmp_path / "there").values()) == {1}
    assert "2 of 2 cells are finished already" in [event.message for event in events]


def killed(tasks, resources):
    """A machine that dies with its first cell, after its record is written or before."""
    for number, task in enumerate(tasks):
        if number:
            work(task.to_json())
        yield task, "the node died"


def test_a_dead_machine_leaves_a_failed_record_and_never_takes_a_finished_one_away(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = study_config(data, seeds=[0])
    lost, kept = compare(config, tmp_path / "study", runs=killed)
    assert (lost.status, lost.extra["reason"], kept.status) == ("failed", "the node died", "finished")
    ran = []

    def recorded(tasks, resources):
        for task in tasks:
            ran.append(task.cell)
            yield task, work(task.to_json())

    assert [r.status for r in compare(config, tmp_path / "study", runs=recorded)].count("finished") == 2
    assert ran == [lost.cell]


def test_two_machines_with_one_cell_work_one_after_the_other(tasks, data, monkeypatch):
    """The second waits, finds the record of the first, and does not train."""
    task, dataset = tasks[0], open_dataset(data)
    from dimlift.studies import run

    trained = []
    original = run.train_cell

    def slowly(*arguments):
        trained.append(1)
        time.sleep(0.5)
        return original(*arguments)

    monkeypatch.setattr(run, "train_cell", slowly)
    both = [threading.Thread(target=attempt, args=(task.config, dataset, task.out)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert len(trained) == 1
    assert starts(task.out) == {task.cell: 1}


def test_a_machine_that_sees_other_files_or_no_folder_does_not_run_the_cell(tasks, monkeypatch):
    from dataclasses import replace

    monkeypatch.chdir(tasks[0].out)
    assert "sees other files" in work(replace(tasks[0], outline="0").to_json())
    assert "put it where all machines see it" in work(replace(tasks[0], out=tasks[0].out / "no").to_json())
    assert not (tasks[0].out / "attempts").exists()


@pytest.mark.slow
def test_jobs_of_submitit_run_the_same_cells(data, tmp_path):
    out = tmp_path / "study"
    runs = slurm_array(scheduler="local", pause=0.2)
    records = compare(study_config(data, seeds=[0], arms={"one": {"method": "unet", "widths": [4, 8]}}), out, runs=runs)
    assert [r.status for r in records] == ["finished"]
    assert set(starts(out).values()) == {1}


SBATCH = """#!/bin/sh
cp "$1" "{folder}/script"
exit 1
"""


def test_the_array_asks_for_the_resources_of_a_cell(data, tmp_path, monkeypatch):
    for name in ("sbatch", "srun"):
        (tmp_path / name).write_text(SBATCH.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    wanted = {"gpus": 1, "cpus": 4, "memory": "32GiB", "minutes": 90, "partition": "long"}
    with pytest.raises(RunError, match="sbatch took no job"):
        compare(study_config(data, resources=wanted), tmp_path / "study", runs=slurm_array(2))
    script = (tmp_path / "script").read_text()
    for line in ("array=0-3%2", "cpus-per-task=4", "gpus-per-node=1", "mem=32GB", "partition=long", "time=90"):
        assert f"#SBATCH --{line}\n" in script


def test_slurm_is_looked_for_before_anything_runs(data, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="login node"):
        compare(study_config(data), tmp_path / "study", runs=slurm_array())


@pytest.mark.parametrize("address", ["ray://127.0.0.1:{closed}", "ray://nowhere"])
def test_a_ray_address_that_does_not_answer_names_the_way_out(data, tmp_path, address):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    with pytest.raises(RunError, match=r"ray://HOST:10001"):
        compare(study_config(data), tmp_path / "study", runs=ray_cluster(address.format(closed=closed)))
    assert not list((tmp_path / "study").glob("records/*"))


def test_a_node_without_the_package_says_so(tasks, monkeypatch):
    monkeypatch.setitem(sys.modules, "dimlift.studies.executors.job", None)
    kind, said = _on_a_node()(tasks[0].to_json())
    assert kind == "absent"
    assert "cannot import dimlift" in said


def test_places_that_do_not_exist_are_refused():
    with pytest.raises(ConfigError, match="choose local, ray, ray://HOST:10001 or slurm"):
        machines("kubernetes")
    with pytest.raises(ConfigError, match="resources"):
        machines("ray", 4)
    assert machines("local") is None


@pytest.mark.slow
def test_a_killed_process_takes_only_its_cell(data, tmp_path):
    """The system kills the first; the study goes on, and a second call runs what is missing."""
    config, out = study_config(data, seeds=[0]), tmp_path / "study"
    ended = threading.Event()

    def hunt():
        while not ended.is_set():
            for path in (out / "attempts").glob("*") if (out / "attempts").is_dir() else ():
                if lines := path.read_text().splitlines():
                    os.kill(json.loads(lines[0])["process"], signal.SIGKILL)
                    return
            time.sleep(0.01)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    first, second = compare(config, out, runs=processes(1))
    ended.set()
    hunter.join()
    assert (first.status, second.status) == ("failed", "finished")
    assert "killed" in first.extra["reason"]
    compare(config, out, runs=processes(1))
    assert starts(out) == {first.cell: 2, second.cell: 1}
    assert {r.status for r in load_records(out / "records")} == {"finished"}
