"""Pretrain one network and write a weights folder from which arms are initialised."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dimlift.batch import on_device
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.inference.predictor import lifted_facts
from dimlift.methods.method import Method
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import RunRecord
from dimlift.records.weights import write_weights
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.pretraining_data import find_files, load_data
from dimlift.studies.run import torch_threads
from dimlift.studies.run_folder import lock_run_folder
from dimlift.studies.run_record import versions
from dimlift.training.distributed import require_single_process
from dimlift.training.fit import fit, step_seed
from dimlift.training.memory import PeakMemory
from dimlift.training.signals import raise_on_signal


def pretrain(config: PretrainConfig, out: Path | str, progress: Progress = no_progress) -> RunRecord:
    """Run one pretraining; an interrupted run is resumed.

    Writes to `out`: config.yaml, weights/ (for `arm.init_from: OUT/weights`) and records/<identity>.json.

    Raises:
        DataError: if there is no data, or a file cannot be used.
        RunError: if the folder holds another run, or training cannot continue.
    """
    require_single_process("pretrain", "start it once")
    out = Path(out)
    method_name = config.pretraining.method
    files = find_files(config, progress)
    seen = files.case_digests()
    identity = config.identity(hashlib.sha256(repr((seen, *files.file_digests())).encode()).hexdigest())
    finished = out / "records" / f"{identity}.json"
    with (
        raise_on_signal(),
        lock_run_folder(out, "pretrain", identity, config.model_dump(mode="json")),
        torch_threads(config.training.num_threads),
    ):
        if finished.is_file():
            progress(Event("skip", method_name, 1.0, message="already finished"))
            return RunRecord.load(finished)
        memory = PeakMemory()
        data, preprocessing = load_data(config, files, out / "cache", progress)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            task = config.pretraining.model_task(data.task)
            model = None if config.arm is None else config.arm.build(task).trainable_network()
            method = config.pretraining.build(model, data)
            network = method.trainable_network()

        def on_event(event: Event) -> None:
            progress(replace(event, arm=method_name))

        seconds_before, batch_at = config.pretraining.batches(method, data, on_event)
        result = fit(
            method,
            batch_at,
            budget=config.budget,
            training=config.loop,
            seed=config.seed,
            arm=method_name,
            seconds_before=seconds_before,
            checkpoints=out / "checkpoints",
            progress=progress,
        )
        card = weights_card(config, preprocessing) | {
            **lifted_facts(network),
            "steps": result.steps,
            "seconds": result.seconds,
            "seen": seen,
        }
        write_weights(out / "weights", network.state_dict(), card)
        _evaluate_last_batches(config, method, batch_at, result.steps)
        report = method.report()
        record = RunRecord(
            run_id=identity,
            arm=method_name,
            train_fraction=1.0,
            fold=config.fold,
            seed=config.seed,
            steps=result.steps,
            seconds=result.seconds,
            peak_bytes=memory.bytes(),
            versions=versions(),
            status="finished",
            history=result.history,
            extra={**files.facts(), "notes": result.notes, **report},
        )
        record.save(out / "records")
    progress(Event("done", method_name, 1.0, result.steps, message=describe_result(result.steps, report)))
    return record


def _evaluate_last_batches(
    config: PretrainConfig, method: Method[Any], batch_at: Callable[[int], Any], steps: int
) -> None:
    """Compute the loss of the last batches with the trained weights: equal for a run that was interrupted."""
    method.eval()
    device = next(method.parameters()).device
    with torch.no_grad(), torch.random.fork_rng():
        for step in range(max(0, steps - config.pretraining.evaluated_batches), steps):
            torch.manual_seed(step_seed(config.seed, step))
            method.loss(on_device(batch_at(step), device))


def describe_result(steps: int, report: Mapping[str, Any]) -> str:
    """Return the line printed at the end of pretraining; `report` is that of the method."""
    if "blind_loss" not in report:
        return f"{steps} steps"
    loss, blind = report["reconstruction_loss"], report["blind_loss"]
    note = "" if loss < blind else "; not below it, so nothing was learned from the visible parts: train longer"
    blind_predictor = report.get("blind_predictor", "a predictor that knows only the centre of a masked patch")
    text = f"{steps} steps, reconstruction loss {loss:.3g} ({blind_predictor}: {blind:.3g}{note})"
    return text + describe_kernel_energy(report.get("kernel_energy", {}))


def describe_kernel_energy(energy: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return the share of kernel energy on each depth tap, by stage, before and after; empty for 2D kernels."""
    before, after = energy.get("before", {}), energy.get("after", {})
    lines = [f"{name}: {_shares(before[name])} -> {_shares(after[name])}" for name in before if name in after]
    return "; kernel energy by depth tap, " + ", ".join(lines) if lines else ""


def _shares(taps: Sequence[float]) -> str:
    return "/".join(f"{share:.4f}" for share in taps)


def weights_card(config: PretrainConfig, preprocessing: Preprocessing | None) -> dict[str, Any]:
    """Return the entries of a weights card that follow from the configuration and the preprocessing."""
    return {
        "modality": "point_clouds" if config.pretraining.needs_point_clouds else "volumes",
        "task": "pretraining",
        "method": config.pretraining.method,
        "channels": list(preprocessing.channels) if preprocessing else [],
        "labels": {},
        "spacing": preprocessing.spacing if preprocessing else None,
        "orientation": "RAS",
        **({"up_axis": config.point_clouds.up_axis} if config.frames is not None else {}),
        "normalisation": [rule.to_json() for rule in preprocessing.normalisation] if preprocessing else [],
        "arm": config.arm and config.arm.model_dump(mode="json"),
        "pretraining": config.pretraining.model_dump(mode="json"),
    }
