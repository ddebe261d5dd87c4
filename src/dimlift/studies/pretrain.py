"""Pretrain one network: read the pool, train, leave a weights folder that arms can start from."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dimlift.config.method_config import Task
from dimlift.config.pretraining_config import FramePool, Pool
from dimlift.data.case import Case
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.datasets.point_cloud_index import classes_of
from dimlift.data.datasets.point_cloud_set import CloudSet, read_clouds
from dimlift.data.datasets.point_clouds import open_cloud_dataset, sound_places
from dimlift.data.io.images import Pictures, find_pictures, split_pictures
from dimlift.data.issue import raise_on_errors
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.preprocessing.sample import Sample
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.quality.content_hash import fingerprints
from dimlift.data.rgbd.frames import usable_frames
from dimlift.data.rgbd.recordings import FrameFiles, find_recordings
from dimlift.data.sampling.point_cloud_sampler import CloudSampler
from dimlift.errors import DataError
from dimlift.inference.predictor import lifted_facts
from dimlift.methods.points.config import PointEncoderArm
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import Record
from dimlift.records.weights import write_weights
from dimlift.studies.modality.volumes import auto_patch
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run import asked, computing_threads
from dimlift.studies.run_folder import claimed
from dimlift.studies.run_record import versions
from dimlift.studies.split import held_out_cases
from dimlift.training.distributed import require_alone
from dimlift.training.fit import fit
from dimlift.training.initialise import file_digest, learning_network
from dimlift.training.memory import PeakMemory
from dimlift.training.signals import heeded


def pretrain(config: PretrainConfig, out: Path | str, progress: Progress = silent) -> Record:
    """Run one pretraining; one that was interrupted goes on where it stopped.

    Leaves in `out`: config.yaml, weights/ (what arms start from, `start: OUT/weights`), records/<identity>.json.

    Raises:
        DataError: if there is nothing to learn from, or a file is not sound.
        RunError: if the folder holds another run, or training cannot go on.
    """
    require_alone("pretrain", "start it once")
    out = Path(out)
    cases = find_cases(config, progress)
    pictures = find_pool_pictures(config)
    seen = [found for case in cases for found in fingerprints(case)]
    shown = [file_digest(path) for path in pictures.paths] if pictures is not None else []
    frames, bad_frames = find_pool_frames(config)
    walked = [file_digest(path) for frame in frames for path in (frame.colour, frame.depth)]
    clouds, bad_clouds = find_pool_clouds(config)
    seen += clouds.digests() if clouds else []
    identity = config.identity(hashlib.sha256(repr((seen, shown, walked)).encode()).hexdigest())
    finished = out / "records" / f"{identity}.json"
    with (
        heeded(),
        claimed(out, "pretrain", identity, config.model_dump(mode="json")),
        computing_threads(config.training.threads),
    ):
        if finished.is_file():
            progress(Event("skip", config.pretraining.method, 1.0, message="already finished"))
            return Record.load(finished)
        memory = PeakMemory()
        pool, preprocessing = read_pool(config, cases, pictures, out / "cache", progress)
        if config.frames is not None:
            wanted = config.frames
            pool = replace(pool, frames=FramePool(tuple(frames), wanted.stride, wanted.tolerance, wanted.pairs))
        if config.clouds is not None and clouds is not None:
            drawn = config.clouds
            sampler = CloudSampler(
                clouds,
                drawn.points,
                seed=config.seed,
                augment=config.training.augment,
                turn=drawn.turn,
                upright="xyz".index(drawn.upright),
            )
            pool = replace(pool, clouds=sampler)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            wanted_task = config.pretraining.student_task(pool.task)
            learner = None if config.student is None else learning_network(config.student.build(wanted_task))
            method = config.pretraining.build(learner, pool)
            student = learning_network(method)

        def heard(event: Event) -> None:
            progress(replace(event, arm=config.pretraining.method))

        spent, batch_at = config.pretraining.batches(method, pool, heard)
        result = fit(
            method,
            batch_at,
            budget=config.budget,
            training=config.loop,
            seed=config.seed,
            arm=config.pretraining.method,
            spent=spent,
            checkpoints=out / "checkpoints",
            progress=progress,
        )
        card = {
            "task": "pretraining",
            "method": config.pretraining.method,
            **lifted_facts(student),
            "channels": list(preprocessing.channels) if preprocessing else [],
            "labels": {},
            "spacing": preprocessing.spacing if preprocessing else None,
            "orientation": "RAS",
            "normalisation": [rule.to_json() for rule in preprocessing.normalisation] if preprocessing else [],
            "student": config.student and config.student.model_dump(mode="json"),
            "pretraining": config.pretraining.model_dump(mode="json"),
            "steps": result.steps,
            "seconds": result.seconds,
            "seen": seen,
        }
        write_weights(out / "weights", student.state_dict(), card)
        record = Record(
            cell=identity,
            arm=config.pretraining.method,
            fraction=1.0,
            fold=config.fold,
            seed=config.seed,
            steps=result.steps,
            seconds=result.seconds,
            peak_bytes=memory.bytes(),
            versions=versions(),
            status="finished",
            history=result.history,
            extra={
                "volumes": len(cases),
                "pictures": len(shown),
                **frame_facts(frames, bad_frames),
                **cloud_facts(clouds, bad_clouds),
                "notes": result.notes,
                **asked(method),
            },
        )
        record.save(out / "records")
    progress(Event("done", config.pretraining.method, 1.0, result.steps, message=f"{result.steps} steps"))
    return record


def find_cases(config: PretrainConfig, progress: Progress = silent) -> list[Case]:
    """The volumes to learn from, their files checked, without labels and without the test cases of the split.

    Raises:
        DataError: if there are none, or a file is not sound.
    """
    if config.volumes is None:
        return []
    dataset = open_dataset(config.volumes.path, config.volumes.layout, config.task)
    left_out = set() if config.split is None else {c.group for c in held_out_cases(dataset, config.split, config.fold)}
    cases = [replace(case, label=None) for case in dataset.cases if case.group not in left_out]
    if not cases:
        raise DataError(f"{config.volumes.path} has no volume left to learn from; lower split.test_cases")

    def heard(done: int, total: int) -> None:
        progress(Event("check", share=done / max(total, 1)))

    bare = replace(dataset, cases=(), test_cases=tuple(cases))  # nobody asks these for labels
    wanted = config.preprocessing
    raise_on_errors(check_dataset(bare, wanted.nan_policy, heard, missing=wanted.missing_sequences))
    return cases


def find_pool_pictures(config: PretrainConfig) -> Pictures | None:
    """The pictures to learn from; those held out are not among them."""
    if config.pictures is None:
        return None
    return split_pictures(find_pictures(config.pictures.path), config.pictures.held_out)[0]


def find_pool_clouds(config: PretrainConfig) -> tuple[CloudSet | None, list[str]]:
    """The clouds to learn from, without the test cases of the split, and one sentence for each that was left out.

    Raises:
        DataError: if there are none, one is too small for the student, or a file is not sound.
    """
    wanted = config.clouds
    if wanted is None:
        return None, []
    places, left_out = sound_places(wanted.path, wanted.skip_bad)
    classes = classes_of(Path(wanted.path))
    if config.split is not None:
        dataset = open_cloud_dataset(wanted.path, config.task, wanted.skip_bad)
        held_out = {case.group for case in held_out_cases(dataset, config.split, config.fold)}
        places = [place for place, case in zip(places, dataset.cases, strict=True) if case.group not in held_out]
        classes = tuple(dataset.labels)
    if not places:
        raise DataError(f"{wanted.path} has no cloud left to learn from; lower split.test_cases")
    try:
        clouds = read_clouds(places, classes)
    except DataError as fault:
        raise type(fault)(f"{fault} (--skip-bad leaves such clouds out and counts them)") from fault
    if isinstance(config.student, PointEncoderArm):
        config.student.require_points(dict(zip(clouds.names, map(len, clouds.clouds), strict=True)))
    return clouds, left_out


def find_pool_frames(config: PretrainConfig) -> tuple[list[FrameFiles], list[str]]:
    """The RGB-D frames to learn from, each of which can be read, and one sentence for each that was left out.

    Raises:
        DataError: at the first bad frame, unless the configuration skips them.
    """
    wanted = config.frames
    if wanted is None:
        return [], []
    found = find_recordings(wanted.path)
    chosen = found[wanted.first :: wanted.every][: wanted.count]
    if not chosen:
        raise DataError(
            f"{wanted.path} holds {len(found)} frames, none from frame {wanted.first} on; lower frames.first"
        )
    return usable_frames(chosen, wanted.skip_bad)


def frame_facts(frames: Sequence[FrameFiles], bad: Sequence[str]) -> dict[str, Any]:
    """What the record says of the frames."""
    if not frames:
        return {}
    rig = frames[0].rig
    return {"frames": len(frames), "bad_frames": len(bad), "left_out": list(bad), "registration": rig.registration}


def cloud_facts(clouds: CloudSet | None, bad: Sequence[str]) -> dict[str, Any]:
    """What the record says of the clouds."""
    counted = {"clouds": len(clouds or ())}
    return {**counted, "bad_clouds": len(bad), "left_out": list(bad)} if bad else counted


def read_pool(
    config: PretrainConfig,
    cases: Sequence[Case],
    pictures: Pictures | None,
    cache: Path,
    progress: Progress = silent,
) -> tuple[Pool, Preprocessing | None]:
    """Read everything there is to learn from; preprocessing is decided on these volumes."""
    samples: list[Sample] = []
    preprocessing = None
    if config.volumes is not None:
        dataset = open_dataset(config.volumes.path, config.volumes.layout, config.task)
        wanted = config.preprocessing
        preprocessing = Preprocessing.fit(
            dataset, cases, wanted.spacing, wanted.modality, wanted.nan_policy,
            windows=wanted.windows, missing=wanted.missing_sequences,
        )  # fmt: skip
        for number, case in enumerate(cases):
            samples.append(preprocessing.read(case))
            progress(Event("read", config.pretraining.method, (number + 1) / len(cases)))
    chosen: Any = config.training.patch_size
    if chosen == "auto":
        side = config.pictures.size if config.pictures else 0
        chosen = auto_patch([s.image.shape[1:] for s in samples]) if samples else (3, side, side)
    task = Task(
        kind=config.task,
        in_channels=len(preprocessing.normalisation) if preprocessing else 1,
        classes=max(2, len(pictures.classes)) if pictures else 2,
        spacing=preprocessing.typical_spacing if preprocessing else None,
        patch_size=config.student.patch_size(chosen) if config.student else chosen,
        seed=config.seed,
        gradient_checkpointing=config.training.gradient_checkpointing,
    )
    return Pool(task, samples, pictures, config.loop, config.seed, cache), preprocessing
