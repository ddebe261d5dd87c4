"""The table of the fault matrix: every command with its words, its input files by kind, and its main output."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Command:
    """A command line in a folder that `matrix_world` fills; outputs are below disk/.

    Attributes:
        words: the command.
        sealed: binary input files with a checksum: any flipped bit is found.
        text: JSON, YAML and CSV files that it reads.
        binary: input files without a checksum; only their headers can be checked.
        main: patterns of the outputs that make the result complete.
        prefill: folders that are copied below disk/ before the command starts.
        repeatable: whether the same command goes on after a failure; else it states what to delete.
        shorten: steps of training, for the demo.
    """

    words: tuple[str, ...]
    sealed: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    binary: tuple[str, ...] = ()
    main: tuple[str, ...] = ()
    prefill: dict[str, str] = field(default_factory=dict)
    repeatable: bool = True
    shorten: int | None = None


IMAGE, LABEL = "data/images/case_1.nii.gz", "data/labels/case_1.nii.gz"
RUN = "run/weights/model.safetensors", "run/weights/model.json"
DONE = ("out/records/*.json", "out/weights/model.json", "out/weights/*/model.json")

COMMANDS = {
    "check": Command(("check", "data"), (IMAGE, LABEL), ("data/dataset.json",)),
    "train": Command(
        ("train", "train.yaml", "--out", "disk/out"), (IMAGE, LABEL), ("data/dataset.json", "train.yaml"), main=DONE
    ),
    "compare": Command(
        ("compare", "study.yaml", "--out", "disk/out"), (IMAGE, LABEL), ("data/dataset.json", "study.yaml"), main=DONE
    ),
    "compare again": Command(
        ("compare", "study.yaml", "--out", "disk/out"),
        text=("study/run.json", "study/records/*.json", "study/weights/*/model.json"),
        main=DONE,
        prefill={"study": "disk/out"},
    ),
    "report": Command(
        ("report", "study", "--out", "disk/page.html"),
        ("study/predictions/*/*.nii.gz",),
        ("study/study.json", "study/records/*.json"),
        main=("page.html",),
    ),
    "run": Command(
        ("run", "train.yaml", "--out", "disk/out"), (IMAGE, LABEL), ("data/dataset.json", "train.yaml"),
        main=(*DONE, "out/final/records/*.json", "out/final/weights/model.json"),
    ),
    "evaluate": Command(
        ("evaluate", "data/labels", "data/labels", "--out", "disk/scores.csv"), (LABEL,), main=("scores.csv",),
        repeatable=False,
    ),
    "weights": Command(("weights", "resnet.safetensors"), binary=("resnet.safetensors",)),
    "predict": Command(
        ("predict", "run", "scan.nii.gz", "disk/out.nii.gz"),
        ("scan.nii.gz", RUN[0]),
        (RUN[1],),
        main=("out.nii.gz",),
    ),
    "embed": Command(
        ("embed", "data", "--planes", "1", "--network", "timm:test_resnet", "--weights", "resnet.safetensors", "--cache", "disk/cache", "--out", "disk/emb.npz"),  # noqa: E501
        (IMAGE,),
        ("data/dataset.json",),
        ("resnet.safetensors",),
        main=("emb.npz",),
    ),
    "probe": Command(
        ("probe", "emb.npz", "--labels", "labels.csv", "--folds", "2"), ("emb.npz",), ("labels.csv",)
    ),
    "lift": Command(
        ("lift", "timm:test_resnet", "--weights", "resnet.safetensors", "--licence", "mit", "--out", "disk/out"),
        binary=("resnet.safetensors",),
        main=("out/model.json",),
    ),
    "export": Command(("export", "run", "disk/model.onnx"), (RUN[0],), (RUN[1],), main=("model.onnx",)),
    "pretrain": Command(
        ("pretrain", "point_mae", "pretrain.yaml", "--out", "disk/out"),
        ("shapes.npz",),
        ("pretrain.yaml",),
        main=("out/records/*.json", "out/weights/model.json"),
    ),
    "self-train": Command(
        ("self-train", "self_train.yaml", "--out", "disk/out"),
        (IMAGE, LABEL, "pool/images/more_20.nii.gz"),
        ("data/dataset.json", "self_train.yaml"),
        main=("out/weights/model.json",),
    ),
    "project-features": Command(
        ("project-features", "scan.ply", "--frames", "room", "--network", "timm:test_resnet", "--weights", "resnet.safetensors", "--occlusion-cell", "1", "--out", "disk/projected.npz"),  # noqa: E501
        ("room/frame-000001.color.png", "room/frame-000001.depth.png"),
        ("room/cameras.json", "room/frame-000001.pose.txt"),
        ("scan.ply", "resnet.safetensors"),
        main=("projected.npz",),
    ),
    "push": Command(
        ("push", "run", "me/blocks", "--licence", "cc-by-4.0", "--preview", "disk/page.md"),
        text=(RUN[1], "run/records/*.json"),
        main=("page.md",),
    ),
    "pull": Command(
        ("pull", "me/blocks", "--download", "--out", "disk/weights"),
        ("hub_cache/models--me--blocks/snapshots/*/model.safetensors",),
        ("hub_cache/models--me--blocks/snapshots/*/model.json",),
        main=("weights/model.json",),
    ),
    "demo": Command(
        ("demo", "--points", "--out", "disk/demo"), main=("demo/report.html",), repeatable=False, shorten=2
    ),
}  # fmt: skip

FAULTS = (
    "kill", "full disk", "file limit", "quota", "read-only", "below a file", "memory", "bit flip", "hostile name",
    "broken text",
)  # fmt: skip

HOSTILE = "[red]=x()[b] \x1b[2J<b>"
"""A name of a folder: markup of rich, a formula, an escape sequence and HTML."""

BREAKS = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "list": lambda content: b"[]",
    "null": lambda content: b"null",
    "nested": lambda content: b"[" * 20_000,
    "binary": lambda content: b"\x93NUMPY\x00" + content,
    "bit 7": lambda content: content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 0x80])
    + content[len(content) // 2 + 1 :],
}  # fmt: skip
"""Ways to break a text file."""

FLIPS = ((0.0, 3), (0.3, 0), (0.5, 6), (0.8, 2))
"""Where bits of a binary file are flipped: a fraction of its length, and the number of the bit."""
