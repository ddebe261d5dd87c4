"""Build the network of a foreign weights card without more memory than its weights justify."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode

from dimlift.errors import WeightsError

BUILD_FAULTS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NotImplementedError, RuntimeError,
    TypeError, ValueError,
)  # fmt: skip
"""What torch, timm and others raise for options that make no network."""

FACTOR = 4
"""A method may hold its network several times (a teacher, an average), or tensors that are not stored."""

SLACK_BYTES = 2**31
SLACK_TENSORS = 4_000


class _BoundedTensors(TorchDispatchMode):
    """Refuse tensors above a number of bytes right after their allocation, which touches no memory."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if isinstance(found, Tensor) and found.device.type != "meta":
            _require_within(found.untyped_storage().nbytes(), self._most, "bytes in one tensor")
        return found


@contextmanager
def bounded_build(state: Mapping[str, Tensor]) -> Iterator[None]:
    """Bound the memory of modules that are built inside: four times the stored weights and 2 GiB.

    Args:
        state: the stored weights.

    Raises:
        WeightsError: if a tensor, or all parameters and buffers together, exceed the bound.
    """
    stored = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    most, most_tensors = FACTOR * stored + SLACK_BYTES, FACTOR * len(state) + SLACK_TENSORS
    total = [0, 0]

    def count(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        if tensor is None or tensor.device.type == "meta" or isinstance(tensor, nn.UninitializedParameter):
            return
        total[0] += tensor.numel() * tensor.element_size()
        total[1] += 1
        _require_within(total[0], most, "bytes of parameters")
        _require_within(total[1], most_tensors, "parameters")

    with ExitStack() as stack:
        for register in (register_module_parameter_registration_hook, register_module_buffer_registration_hook):
            stack.callback(register(count).remove)
        stack.enter_context(_BoundedTensors(most))
        yield


def _require_within(found: int, most: int, what: str) -> None:
    if found > most:
        raise WeightsError(
            f"its options make a network of more than {found} {what}, but the weights file allows {most}; use the "
            "options the weights were trained with"
        )
