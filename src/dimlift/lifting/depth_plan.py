"""DepthPlan: how a 2D network is given depth. Importing this module does not import torch."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dimlift.errors import PlanError, UnknownNameError
from dimlift.inflation.profiles import (
    KERNEL_INFLATIONS,
    ORIENTED,
    Profile,
    inflation_names,
    parse_profile,
    profile_weights,
)
from dimlift.lifting.plan_from_spacing import depth_by_stage

_NUMERIC = {"kernel": ("a number of slices",), "attention": ("a number of slices",)}
"""Fields that take a number as well as a name."""


def _option(default: Any, description: str) -> Any:
    return field(default=default, metadata={"description": description})


@dataclass(frozen=True)
class DepthPlan:
    """How a 2D network is given depth: which layers mix along depth, and how their weights start.

    This is the only place that states the fields, their choices, defaults and descriptions. The section `plan` of a
    configuration, the options of `dimlift lift` and the table in docs/lifting.md are generated from it.
    """

    kernel: int | Literal["cubic"] | Mapping[str, int] = _option(
        3,
        "Depth of every convolution kernel larger than 1, patch embeddings included: a number; `cubic` for as deep as "
        "wide; or a number by name of a layer, of a module (`layer4`) or of a stage (`stage0`), where the longest name "
        "that matches counts and all other layers stay 2D.",
    )
    inflation: str | Profile = _option(  # noqa: RUF009 - an immutable field
        "centre",
        "How the weight of a 2D kernel is distributed over depth: "
        f"{', '.join(f'`{name}`' for name in inflation_names())}. SIGMA is in slices.",
    )
    axes: tuple[Literal["depth", "height", "width"], ...] = _option(
        ("depth",), "Axes to inflate along. More than `depth` needs cubic kernels; other layers use depth only."
    )
    stride: Literal["none", "kernel", "first_conv"] = _option(
        "none",
        "`kernel`: convolutions whose stride is their kernel size also stride in depth (tubelets). `first_conv`: only "
        "the first convolution mixes along depth, with a depth stride of `kernel` slices (TransSeg).",
    )
    depth_pool: tuple[int, ...] = _option(
        (1, 1, 1, 1),
        "Average pooling over depth after each stage, before its map is returned; the last window may be smaller. "
        "Stages not listed keep their depth.",
    )
    depth_stride: tuple[int, ...] | Mapping[str, int] = _option(
        (1, 1, 1, 1),
        "Stride along depth of the convolutions, pools and shortcuts that have a stride within the slice, as in 3D "
        "ResNets: a number for each stage, or by name of a layer, module or stage. Pools cover as many slices as "
        "rows. A layer leaves ceil(depth / stride) slices.",
    )
    depth_padding: Literal["replicate", "zero"] = _option(
        "replicate", "What convolutions read beyond the first and the last slice: these slices again, or zeros."
    )
    attention: Literal["per_slice", "volume", "planecycle"] | int = _option(
        "per_slice",
        "Which tokens attend to one another: those of a slice, of the whole volume, or of a window of so many slices, "
        "shifted by half in every other layer (Video Swin); `planecycle`: those of a plane HW, DW or DH, block by "
        "block.",
    )
    pool: Literal["per_slice", "volume"] = _option(
        "per_slice", "Squeeze-and-excite and global pools: per slice, or over the whole volume."
    )
    norm: Literal["per_slice", "volume"] = _option(
        "per_slice", "Norms with statistics over positions (instance, group, layer): per slice, or over the volume."
    )
    slice_pool: Literal["mean", "max", "attention", "none"] = _option(
        "mean", "How the logits of the slices become those of the volume, in a network that returns logits."
    )
    factorised: bool = _option(
        False,
        "Keep 2D kernels and give each output channel a depth profile: the same function at the start, at about the "
        "cost of the 2D network.",
    )
    spacing: tuple[float, float, float] | None = _option(
        None,
        "(z, y, x) in millimetres: nnU-Net's rule (Isensee et al. 2021) decides for each stage whether it mixes along "
        "depth and whether depth is halved, instead of `kernel` per stage and `depth_pool`.",
    )

    def __post_init__(self) -> None:
        for name in ("axes", "depth_pool", "depth_stride"):
            value = getattr(self, name)
            object.__setattr__(self, name, dict(value) if isinstance(value, Mapping) else tuple(value))
        for name, choices in choices_by_field().items():
            value = getattr(self, name)
            for item in value if isinstance(value, tuple) else (value,):
                if item not in choices and (isinstance(item, str) or name not in _NUMERIC):
                    raise UnknownNameError(name, str(item), [*choices, *_NUMERIC.get(name, ())])
        self._check_inflation()
        self._check_kernel()
        if not self.axes or len(set(self.axes)) < len(self.axes):
            raise PlanError(f"axes must name each axis once and at least 'depth', got {self.axes}")
        if self.axes != ("depth",) and self.factorised:
            raise PlanError(
                f"a factorised kernel has its profile along depth only, got axes {self.axes}; use axes=('depth',), or "
                "factorised=False"
            )
        if any(not is_positive_int(factor) for factor in self.depth_pool):
            raise PlanError(f"depth_pool must hold whole numbers of at least 1, got {self.depth_pool}")
        self._check_depth_stride()
        if not isinstance(self.attention, str) and not is_positive_int(self.attention):
            raise PlanError(f"attention must be a name or a number of slices of at least 1, got {self.attention!r}")
        if self.spacing is not None:
            self._check_spacing(self.spacing)

    def _check_inflation(self) -> None:
        if not isinstance(self.inflation, str):
            return
        if self.inflation not in KERNEL_INFLATIONS:
            if parse_profile(self.inflation) is None:
                raise UnknownNameError("inflation", self.inflation, inflation_names())
        elif self.axes != ("depth",):
            raise PlanError(f"{self.inflation} sets the axes of kernels itself, got axes {self.axes}; leave axes out")
        elif self.inflation in ORIENTED and self.factorised:
            raise PlanError(
                f"{self.inflation} rotates kernels out of the slice, so they are not a 2D kernel times a depth "
                "profile; use factorised=False"
            )

    def _check_kernel(self) -> None:
        if self.stride == "first_conv" and not isinstance(self.kernel, int):
            raise PlanError(
                f"stride='first_conv' needs a number of slices as the kernel, got {self.kernel!r}; give a number"
            )
        if isinstance(self.kernel, Mapping):
            object.__setattr__(self, "kernel", dict(self.kernel))
        sizes = list(self.kernel.values()) if isinstance(self.kernel, Mapping) else [self.kernel]
        for size in (3 if size == "cubic" else size for size in sizes):
            if not is_positive_int(size):
                raise PlanError(f"a depth kernel is a whole number of at least 1, got {size!r}")
            if self.inflation not in KERNEL_INFLATIONS:
                profile_weights(self.inflation, size)

    def _check_depth_stride(self) -> None:
        given = self.depth_stride
        if any(not is_positive_int(step) for step in (given.values() if isinstance(given, Mapping) else given)):
            raise PlanError(f"depth_stride must hold whole numbers of at least 1, got {given}")
        if self.strides_depth and self.stride != "none":
            raise PlanError(
                f"depth_stride={given} with stride={self.stride!r}: both would stride along depth in the same layers; "
                "set only one of them"
            )
        if self.depth_padding == "zero" and self.stride != "none":
            raise PlanError(
                f"depth_padding='zero' with stride={self.stride!r}: tubelets do not overlap the ends of a volume; use "
                "depth_padding='replicate'"
            )

    @property
    def strides_depth(self) -> bool:
        """Whether any layer strides along depth by `depth_stride`."""
        given = self.depth_stride
        return any(step > 1 for step in (given.values() if isinstance(given, Mapping) else given))

    def _check_spacing(self, spacing: Sequence[float]) -> None:
        object.__setattr__(self, "spacing", tuple(spacing))
        depth_by_stage(spacing, ())
        conflicts = {
            "depth_pool": any(factor > 1 for factor in self.depth_pool),
            "depth_stride": self.strides_depth,
            "stride": self.stride != "none",
            "kernel": not isinstance(self.kernel, int),
        }
        for name in (name for name, found in conflicts.items() if found):
            raise PlanError(
                f"{name}={getattr(self, name)!r} with spacing: the spacing decides which stages mix along depth and "
                "where depth is halved, with a kernel of one number; set only one of them"
            )

    def for_stages(self, strides: Sequence[float], can_halve: Sequence[bool] | None = None) -> "DepthPlan":
        """Return the plan with `spacing` replaced by a kernel and a depth pool per stage; unchanged without spacing.

        Args:
            strides: in-plane stride of each stage's map, in voxels.
            can_halve: whether depth can be halved after each stage; True for all if None.
        """
        if self.spacing is None:
            return self
        mixes, depth_pool = depth_by_stage(self.spacing, strides, can_halve)
        size: Any = self.kernel  # a number: anything else is refused together with a spacing
        kernels = {f"stage{index}": size if deep else 1 for index, deep in enumerate(mixes)}
        return replace(self, kernel=kernels, depth_pool=depth_pool, spacing=None)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON.

        Raises:
            PlanError: if the inflation is a custom function, which JSON cannot hold.
        """
        if not isinstance(self.inflation, str):
            raise PlanError("a custom inflation cannot be written to JSON; use one with a name, such as 'centre'")
        content = {option.name: getattr(self, option.name) for option in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in content.items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "DepthPlan":
        """Return the plan that `to_json` wrote.

        Raises:
            UnknownNameError: for a key that is not a field of a plan.
        """
        known = [option.name for option in fields(cls)]
        for name in content:
            if name not in known:
                raise UnknownNameError("field of a depth plan", name, known)
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()}
        return cls(**values)


@functools.cache
def choices_by_field() -> dict[str, tuple[str, ...]]:
    """Return the names each field of a plan accepts, where they are fixed; `inflation` takes any registered name."""
    found = {name: _literals(hint) for name, hint in get_type_hints(DepthPlan).items()}
    return {name: choices for name, choices in found.items() if choices}


def _literals(hint: Any) -> tuple[str, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(name for member in get_args(hint) for name in _literals(member))


def is_positive_int(number: object) -> bool:
    """Whether this is a whole number of at least 1."""
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1
