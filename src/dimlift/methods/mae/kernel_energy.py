"""Share of the energy of 3D kernels on each depth tap, stage by stage: what training changed along depth."""

from collections import defaultdict

from torch import Tensor, nn

from dimlift.lifting.layer_selection import stage_of
from dimlift.lifting.layers.conv import InflatedConv2d
from dimlift.lifting.lifted_module import LiftedModule
from dimlift.lifting.stages import stages_of

Energy = dict[str, list[float]]


def kernel_energy(network: nn.Module) -> Energy:
    """Return the share of the squared weights on each depth tap, for each stage of a lifted network.

    Kernels of the same depth are added up; a stage with kernels of several depths has an entry for each, such as
    "stage 0, 3 slices". A network that is not lifted is one stage, of its convolutions.

    Returns:
        For each stage one number per tap, which sum to 1; no entry where every kernel is 2D.
    """
    lifted = next((module for module in network.modules() if isinstance(module, LiftedModule)), None)
    root = network if lifted is None else lifted.network
    stages = () if lifted is None else stages_of(lifted.network)
    order = {name: index for index, (name, _) in enumerate(root.named_modules())}
    sums: defaultdict[tuple[int, int], list[Tensor]] = defaultdict(list)
    for name, module in root.named_modules():
        taps = _taps(module)
        if taps is not None and len(taps) > 1:
            sums[stage_of(name, order, stages) if lifted is not None else 0, len(taps)].append(taps)
    label = "stage {}, {} slices" if lifted is not None else "network, {1} slices"
    shares: Energy = {}
    for (stage, depth), energies in sorted(sums.items(), key=lambda item: item[0]):
        total = sum(energies[1:], start=energies[0])
        shares[label.format(stage, depth)] = [float(share) for share in total / total.sum()]
    return shares


def _taps(module: nn.Module) -> Tensor | None:
    if isinstance(module, InflatedConv2d) and module.depth_profile is not None:
        return module.depth_profile.detach().double().square().sum(0).cpu()
    if not isinstance(module, nn.Conv3d | InflatedConv2d) or module.weight.ndim != 5:
        return None
    return module.weight.detach().double().square().sum((0, 1, 3, 4)).cpu()
