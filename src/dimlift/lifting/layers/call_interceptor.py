"""Intercept torch function calls inside a forward pass, for operations that have no module to replace."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from threading import local
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

TorchFunction = Callable[..., Any]

SOFTMAXES = (F.softmax, torch.softmax, torch.Tensor.softmax)
RESHAPES = (torch.Tensor.reshape, torch.Tensor.view, torch.reshape)
ATTENTION_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


class CallHandler(Protocol):
    """Computes the result of intercepted calls."""

    @property
    def functions(self) -> Collection[TorchFunction]:
        """The torch functions it is registered for."""

    def __call__(self, function: TorchFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the result of `function(*args, **kwargs)`, or of what replaces it."""


class CallInterceptor(TorchFunctionMode):
    """Context manager that dispatches torch function calls to the handlers registered for them.

    Calls without a handler run unchanged. A call made by a handler reaches the enclosing interceptor, if any, and then
    torch, so interceptors nest. The stack of active interceptors is kept per thread: several threads may enter one
    instance at the same time.

    Args:
        handlers: each function may be claimed by one of them.
    """

    def __init__(self, *handlers: CallHandler) -> None:
        super().__init__()
        self.handlers = handlers

    def __torch_function__(
        self,
        func: TorchFunction,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one call, through its handler if it has one."""
        for handler in self.handlers:
            if func in handler.functions:  # torch.compile does not find methods written in Python in a dict
                return handler(func, args, kwargs or {})
        return func(*args, **(kwargs or {}))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.handlers


class _Observers(local):
    on_spanned: Callable[[str], None] | None = None
    on_skipped: Callable[[], None] | None = None


_observers = _Observers()


@contextmanager
def observe_spanning(on_spanned: Callable[[str], None], on_skipped: Callable[[], None] | None = None) -> Iterator[None]:
    """Report, while active and in this thread, which operations span slices.

    Args:
        on_spanned: called with a description of each operation that was made to span slices.
        on_skipped: called for each attention that stays within its slice although it should span slices, because it
            is computed in a way that cannot be intercepted.
    """
    before = _observers.on_spanned, _observers.on_skipped
    _observers.on_spanned, _observers.on_skipped = on_spanned, on_skipped
    try:
        yield
    finally:
        _observers.on_spanned, _observers.on_skipped = before


def notify_spanned(description: str) -> None:
    """Report that an operation was made to span slices."""
    if _observers.on_spanned is not None:
        _observers.on_spanned(description)


def notify_skipped() -> None:
    """Report that an attention stays within its slice."""
    if _observers.on_skipped is not None:
        _observers.on_skipped()


def attention_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call of scaled_dot_product_attention by name."""
    return {**dict(zip(ATTENTION_ARGUMENTS, args, strict=False)), **kwargs}


def first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """Return the input tensor of a call, passed by position or as `input`."""
    tensor: torch.Tensor = args[0] if args else kwargs["input"]
    return tensor
