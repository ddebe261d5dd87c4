"""DepthPlan: everything about how slices talk, as one value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from dimlift.errors import PlanError, UnknownName
from dimlift.inflation.inflate import AXES
from dimlift.inflation.oriented import INFLATIONS, TURNED
from dimlift.inflation.profiles import PROFILES, Profile, named_profile, shares_of
from dimlift.lifting.plan_from_spacing import depth_by_stage

_CHOICES: dict[str, tuple[str, ...]] = {
    "stride": ("none", "kernel", "stem"),
    "pool": ("slice", "joint"),
    "norm": ("slice", "joint"),
    "head": ("mean", "max", "attention", "none"),
}


@dataclass(frozen=True)
class DepthPlan:
    """How a 2D network gets its depth.

    Attributes:
        kernel: slices a convolution looks at, for every convolution whose spatial kernel exceeds 1, patch embeddings
            included. "cubic" takes the spatial size. A mapping names layers, or everything below a name
            ("layer4"), or everything up to the end of a stage ("stage0", "stage1", ...); what it leaves out stays 2D,
            and the longest name that fits counts.
        profile: "average" | "centre" | "gaussian" | "gaussian:SIGMA" | "box3" | "kienzle_1g_as_published" | a function
            of k that gives k shares summing to one; or "acs" | "soft_acs" | "random", which are no profiles.
        axes: axes the profile is laid along. More than depth needs cubic kernels; other layers then use depth only.
        stride: "kernel" lets patchifying convolutions (kernel == stride) take tubelets: depth shrinks there. "stem":
            the first convolution alone talks, whatever it is, and takes tubelets of `kernel` slices (TransSeg).
        reduce: averaging over so many slices (the last group may be smaller) after each stage, before its map is
            handed out. Stages are the entries of feature_info; stages not named keep their depth.
        attention: "slice" | "joint" | int | "planecycle": tokens of one slice; of all slices; of windows of so many
            slices, cut half a window further on in every other attention, so that windows meet (Video Swin); or of the
            planes height x width, depth x width, depth x height in turn, block after block (PlaneCycle).
        pool: "joint" lets squeeze-and-excite and global pools inside the network span all slices.
        norm: "joint" lets instance, group and layer statistics that span positions span all slices.
        head: how the answers of slices become one, where a network answers with logits.
        factorised: keep 2D kernels and give each output channel a depth profile: same function at the start, at about
            the cost of the 2D network.
        spacing: (z, y, x) in millimetres of the volumes: nnU-Net's rule (Isensee et al. 2021) then says for each stage,
            by its stride in the plane, whether slices talk (by `kernel`) and whether depth is halved.
    """

    kernel: int | Literal["cubic"] | Mapping[str, int] = 3
    profile: str | Profile = "centre"
    axes: tuple[str, ...] = ("depth",)
    stride: Literal["none", "kernel", "stem"] = "none"
    reduce: tuple[int, ...] = (1, 1, 1, 1)
    attention: Literal["slice", "joint", "planecycle"] | int = "slice"
    pool: Literal["slice", "joint"] = "slice"
    norm: Literal["slice", "joint"] = "slice"
    head: Literal["mean", "max", "attention", "none"] = "mean"
    factorised: bool = False
    spacing: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", tuple(self.axes))
        object.__setattr__(self, "reduce", tuple(self.reduce))
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UnknownName(name, str(getattr(self, name)), choices)
        self._check_profile()
        self._check_kernel()
        for axis in self.axes:
            if axis not in AXES:
                raise UnknownName("axis", str(axis), AXES)
        if not self.axes or len(set(self.axes)) < len(self.axes):
            raise PlanError(f"axes must name each axis once and at least 'depth', got {self.axes}")
        if self.axes != ("depth",) and self.factorised:
            raise PlanError(
                f"a factorised kernel has its profile along depth only, got axes {self.axes}; use axes=('depth',), or "
                "factorised=False"
            )
        if any(not positive(factor) for factor in self.reduce):
            raise PlanError(f"reduce must hold whole numbers from 1 upwards, got {self.reduce}")
        if isinstance(self.attention, str):
            if self.attention not in ("slice", "joint", "planecycle"):
                raise UnknownName("attention", self.attention, ("slice", "joint", "planecycle", "a number of slices"))
        elif not positive(self.attention):
            raise PlanError(
                f"attention must be 'slice', 'joint', 'planecycle' or a number of slices from 1, got {self.attention!r}"
            )
        if self.spacing is not None:
            self._check_spacing()

    def _check_spacing(self) -> None:
        object.__setattr__(self, "spacing", tuple(self.spacing or ()))
        depth_by_stage(self.spacing or (), ())
        given = {"reduce": any(factor > 1 for factor in self.reduce), "stride": self.stride != "none"}
        given["kernel"] = not isinstance(self.kernel, int)
        for name in (name for name, found in given.items() if found):
            raise PlanError(
                f"{name}={getattr(self, name)!r} beside spacing: the spacing decides where slices talk and depth is "
                "halved, by a kernel of one number; leave one of both out"
            )

    def _check_kernel(self) -> None:
        if isinstance(self.kernel, str):
            if self.kernel != "cubic":
                raise UnknownName("kernel", self.kernel, ("cubic", "or a number of slices"))
            sizes = [3]
        elif isinstance(self.kernel, Mapping):
            object.__setattr__(self, "kernel", dict(self.kernel))
            sizes = list(self.kernel.values())
        else:
            sizes = [self.kernel]
        if self.stride == "stem" and not isinstance(self.kernel, int):
            raise PlanError(
                f"stride='stem' wants the slices of a tubelet as the kernel, got {self.kernel!r}; give a number"
            )
        for size in sizes:
            if not positive(size):
                raise PlanError(f"a depth kernel is a whole number from 1 upwards, got {size!r}")
            if not self.is_inflation:
                shares_of(self.profile, size)

    @property
    def is_inflation(self) -> bool:
        """Whether the profile is the name of an inflation that is no depth profile."""
        return isinstance(self.profile, str) and self.profile in INFLATIONS

    def _check_profile(self) -> None:
        if isinstance(self.profile, str) and not self.is_inflation and named_profile(self.profile) is None:
            raise UnknownName("profile", self.profile, [*PROFILES, *INFLATIONS, "gaussian:SIGMA"])
        if self.is_inflation and self.axes != ("depth",):
            raise PlanError(f"{self.profile} says by itself where kernels lie, got axes {self.axes}; leave axes out")
        if self.profile in TURNED and self.factorised:
            raise PlanError(
                f"{self.profile} turns kernels out of the slice, so they are no 2D kernel times a depth profile; "
                "use factorised=False"
            )

    @classmethod
    def from_spacing(cls, spacing: tuple[float, float, float], *, kernel: int = 3, **others: Any) -> "DepthPlan":
        """The plan nnU-Net's rule gives for volumes of this spacing, stage by stage of the network that is lifted.

        Args:
            spacing: (z, y, x) in millimetres; z is the through-plane axis.
            kernel: depth kernel where slices talk.
            others: further fields of the plan.

        Raises:
            PlanError: for a spacing that is not three positive numbers.
        """
        return cls(kernel=kernel, spacing=spacing, **others)

    def by_stage(self, strides: Sequence[float], reducible: Sequence[bool] | None = None) -> "DepthPlan":
        """The plan for a network with stages of these strides; the same where no spacing decides.

        Args:
            strides: in-plane step of each stage's map, in voxels.
            reducible: whether depth can be halved behind the stage; everywhere if not given.
        """
        if self.spacing is None:
            return self
        deep, reduce = depth_by_stage(self.spacing, strides, reducible)
        size: Any = self.kernel  # a number: whatever else is refused beside a spacing
        kernels = {f"stage{index}": size if talks else 1 for index, talks in enumerate(deep)}
        return replace(self, kernel=kernels, reduce=reduce, spacing=None)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON.

        Raises:
            PlanError: if the profile is a function of the caller's own, which JSON cannot hold.
        """
        if not isinstance(self.profile, str):
            raise PlanError("a profile of your own cannot be written to JSON; use one with a name, such as 'centre'")
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in content.items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "DepthPlan":
        """The plan again.

        Raises:
            UnknownName: for a key that is no field of a plan.
        """
        known = [field.name for field in fields(cls)]
        for name in content:
            if name not in known:
                raise UnknownName("field of a depth plan", name, known)
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}
        return cls(**values)


def positive(number: object) -> bool:
    """Whether this is a whole number from 1 upwards."""
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1
