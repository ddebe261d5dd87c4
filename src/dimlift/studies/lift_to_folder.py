"""Lift one network by name and leave it as a weights folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimlift.errors import RunError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.records.weights import write_weights

if TYPE_CHECKING:
    from dimlift.lifting.lift import Lifted


def lift_network(network: str, plan: DepthPlan, out: Path | None = None, **options: Any) -> "Lifted":
    """Lift a network and, if asked, write it down.

    Args:
        network: what `dimlift.lift` takes: "timm:resnet18", "packaged:efficientnet_lite0".
        out: weights folder; must be new or empty. Nothing is written if lifting fails.
        options: further arguments of `dimlift.lift`.

    Raises:
        RunError: if `out` holds something.
        DimliftError: whatever stops `dimlift.lift`.
    """
    from dimlift.lifting.lift import lift

    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} already holds something; choose a new folder with --out")
    lifted = lift(network, plan, **options)
    if out is not None:
        write_weights(out, lifted.state_dict(), card_of(lifted))
    return lifted


def card_of(lifted: "Lifted") -> dict[str, Any]:
    """What `model.json` says of a lifted network that was not trained: no task, no labels, no data yet."""
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
