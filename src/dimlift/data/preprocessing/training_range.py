"""What the training cases held, stored with the weights, and how a new case departs from it.

Of n training cases and one more of the same kind, the new one lies outside the range of the others with probability
2 / (n + 1) for every quantity, whatever its distribution. The ranges are therefore widened, and the more the fewer
cases there were:

- spacing, extent and number of points: by `FACTOR` on either side, since a scanner protocol fixes them;
- foreground volume of a class: by FACTOR + 8 / n on either side, since sizes of organs and lesions are skewed;
- 0.5th and 99.5th percentile of the intensities of a channel: by (1/4 + 1/n) of the width of the training intensities.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

FACTOR = 2.0

Range = tuple[float, float]


@dataclass(frozen=True)
class InputFacts:
    """What is known about one case before any normalisation.

    Attributes:
        amounts: positive quantities by name ("spacing along depth in mm", "points").
        intensities: 0.5th and 99.5th percentile of each channel; a missing channel is left out.
        orientation: axis codes of the file, such as "LPS"; "" for point clouds.
        columns: columns of a point cloud besides the coordinates.
        foreground_ml: volume of each class in millilitres, where the case has a mask.
    """

    amounts: dict[str, float] = field(default_factory=dict)
    intensities: dict[str, Range] = field(default_factory=dict)
    orientation: str = ""
    columns: tuple[str, ...] = ()
    foreground_ml: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "InputFacts":
        """Return the object whose fields `dataclasses.asdict` gave."""
        intensities = {name: (float(low), float(high)) for name, (low, high) in content["intensities"].items()}
        return cls(**{**content, "intensities": intensities, "columns": tuple(content["columns"])})


@dataclass(frozen=True)
class TrainingRange:
    """The smallest and largest value of every quantity in the training cases.

    Attributes:
        cases: number of training cases.
        amounts: range of each amount.
        low: range of the 0.5th percentile of each channel.
        high: range of the 99.5th percentile of each channel.
        orientations: axis codes that occur.
        columns: columns that every point cloud has.
        foreground_ml: range of the volume of each class in millilitres.
    """

    cases: int
    amounts: dict[str, Range] = field(default_factory=dict)
    low: dict[str, Range] = field(default_factory=dict)
    high: dict[str, Range] = field(default_factory=dict)
    orientations: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    foreground_ml: dict[str, Range] = field(default_factory=dict)

    @classmethod
    def of(cls, cases: Sequence[InputFacts]) -> "TrainingRange":
        """Return the range over the training cases."""
        lows = [{name: values[0] for name, values in facts.intensities.items()} for facts in cases]
        highs = [{name: values[1] for name, values in facts.intensities.items()} for facts in cases]
        shared = set(cases[0].columns).intersection(*(facts.columns for facts in cases)) if cases else set()
        return cls(
            len(cases),
            _ranges(facts.amounts for facts in cases),
            _ranges(lows),
            _ranges(highs),
            tuple(sorted({facts.orientation for facts in cases} - {""})),
            tuple(sorted(shared)),
            _ranges(facts.foreground_ml for facts in cases),
        )

    @classmethod
    def union(cls, ranges: Sequence["TrainingRange"]) -> "TrainingRange":
        """Return the range over the training cases of several runs, with the number of cases of the largest."""
        shared = set(ranges[0].columns).intersection(*(each.columns for each in ranges))
        return cls(
            max(each.cases for each in ranges),
            _hulls(each.amounts for each in ranges),
            _hulls(each.low for each in ranges),
            _hulls(each.high for each in ranges),
            tuple(sorted({axes for each in ranges for axes in each.orientations})),
            tuple(sorted(shared)),
            _hulls(each.foreground_ml for each in ranges),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TrainingRange":
        """Return the object that `to_json` was called on."""
        fields: dict[str, Any] = {**content}
        for name in ("amounts", "low", "high", "foreground_ml"):
            fields[name] = {key: (float(least), float(most)) for key, (least, most) in content[name].items()}
        return cls(**{**fields, "orientations": tuple(content["orientations"]), "columns": tuple(content["columns"])})

    def departures(self, facts: InputFacts) -> list[str]:
        """Return one sentence for each quantity of a case that lies outside the widened range."""
        found = [
            _sentence(name, value, self.amounts[name])
            for name, value in facts.amounts.items()
            if name in self.amounts and not _within(value, self.amounts[name], FACTOR)
        ]
        for channel, values in facts.intensities.items():
            if channel not in self.low or channel not in self.high:
                continue
            margin = (0.25 + 1 / self.cases) * (self.high[channel][1] - self.low[channel][0])
            for what, value, (least, most) in (
                ("0.5th", values[0], self.low[channel]),
                ("99.5th", values[1], self.high[channel]),
            ):
                if not least - margin <= value <= most + margin:
                    found.append(_sentence(f"{what} percentile of {channel}", value, (least, most)))
        if facts.orientation and self.orientations and facts.orientation not in self.orientations:
            found.append(f"axes are stored as {facts.orientation}, in training as {', '.join(self.orientations)}")
        if lacking := [name for name in self.columns if name not in facts.columns]:
            found.append(f"columns {', '.join(lacking)} are missing, which every training case had")
        return found

    def foreground_departures(self, volumes: Mapping[str, float]) -> list[str]:
        """Return one sentence for each class whose predicted volume in ml lies outside the widened range."""
        factor = FACTOR + 8 / max(self.cases, 1)
        return [
            _sentence(f"predicted volume of {name} in ml", value, self.foreground_ml[name])
            for name, value in volumes.items()
            if name in self.foreground_ml and not _within(value, self.foreground_ml[name], factor)
        ]


def _ranges(cases: Iterable[Mapping[str, float]]) -> dict[str, Range]:
    return _hulls({name: (value, value) for name, value in case.items()} for case in cases)


def _hulls(groups: Iterable[Mapping[str, Range]]) -> dict[str, Range]:
    found: dict[str, Range] = {}
    for group in groups:
        for name, (low, high) in group.items():
            least, most = found.get(name, (low, high))
            found[name] = min(least, low), max(most, high)
    return found


def _within(value: float, bounds: Range, factor: float) -> bool:
    slack = 1 + 1e-6  # of single precision headers
    return bounds[0] / factor / slack <= value <= bounds[1] * factor * slack


def _sentence(name: str, value: float, bounds: Range) -> str:
    held = f"{bounds[0]:.4g}" if bounds[0] == bounds[1] else f"{bounds[0]:.4g} to {bounds[1]:.4g}"
    return f"{name} is {value:.4g}; training held {held}"
