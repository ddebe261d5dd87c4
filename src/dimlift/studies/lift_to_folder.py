"""Lift a network by name and write it as a weights folder."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimlift.errors import RunError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.records.weights import write_weights

if TYPE_CHECKING:
    from dimlift.lifting.lifted_module import LiftedModule


def lift_to_folder(network: str, plan: DepthPlan, out: Path | None = None, **options: Any) -> "LiftedModule":
    """Lift a network and, with `out`, write a weights folder.

    Args:
        network: a name, as for `dimlift.lift`: "timm:resnet18", "packaged:efficientnet_lite0".
        plan: how it is given depth.
        out: weights folder; must be new or empty. Nothing is left if lifting or writing fails.
        options: further arguments of `dimlift.lift`.

    Raises:
        RunError: if `out` is not empty.
        DimliftError: see `dimlift.lift`.
    """
    from dimlift.lifting.lift import lift

    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is not empty; delete it, or choose a new folder with --out")
    lifted = lift(network, plan, **options)
    if out is not None:
        existed = out.exists()
        try:
            write_weights(out, lifted.state_dict(), lifted_card(lifted))
        except OSError:  # the folder was empty
            shutil.rmtree(out, ignore_errors=True)
            if existed:
                out.mkdir(exist_ok=True)
            raise
    return lifted


def lifted_card(lifted: "LiftedModule") -> dict[str, Any]:
    """Return the content of `model.json` for a lifted network without training: no task, labels or preprocessing."""
    unknown = dict.fromkeys(("task", "labels", "spacing", "orientation", "normalisation"))
    return {
        **unknown,
        "source": lifted.source,
        "licence": lifted.licence,
        "provenance": lifted.provenance,
        "plan": lifted.plan.to_json(),
        "channels": lifted.in_channels,
        "certificate": None if lifted.certificate is None else lifted.certificate.to_json(),
    }
