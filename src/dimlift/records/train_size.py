"""How many of the training cases a run uses: the label budget of a study."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainSize:
    """A fraction of the training cases, or a number of them.

    Attributes:
        fraction: above 0 and up to 1, where 1 means all training cases; None if `count` is set.
        count: number of training cases; None if `fraction` is set.
    """

    fraction: float | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        if (self.fraction is None) == (self.count is None):
            raise ValueError(f"set exactly one of fraction and count, got {self.fraction} and {self.count}")

    @property
    def sort_key(self) -> tuple[bool, float]:
        """Order by size as far as it is known without the dataset: counts first, then fractions."""
        if self.count is not None:
            return False, self.count
        return True, self.fraction or 0.0  # one of the two is set

    def __str__(self) -> str:
        """Return the size as shown in tables: `8 cases`, `0.5` or `all`."""
        if self.count is not None:
            return f"{self.count} case{'' if self.count == 1 else 's'}"
        return "all" if self.fraction == 1 else f"{self.fraction:g}"

    def fill_in(self, template: str) -> str:
        """Replace `{train_fraction}` or `{train_count}` in a path by the value of this size."""
        if self.count is not None:
            return template.replace("{train_count}", str(self.count))
        return template.replace("{train_fraction}", f"{self.fraction:g}")


def sorted_sizes(sizes: Iterable[TrainSize]) -> list[TrainSize]:
    """Return the distinct sizes from the smallest to the largest."""
    return sorted(set(sizes), key=lambda size: size.sort_key)
