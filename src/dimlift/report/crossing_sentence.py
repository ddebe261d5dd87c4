"""Up to how many labelled cases an arm pays, in one sentence."""

from dimlift.report.crossing_point import Crossing
from dimlift.report.phrases import join_names


def crossing_sentence(title: str, found: Crossing) -> str:
    """Return the sentence about one arm.

    Args:
        title: of the arm.
        found: its crossing point.
    """
    tried = f"{found.cases[0]:g} to {found.cases[-1]:g} were tried"
    if found.outcome == "not estimated":
        return f"{title}: up to how many labelled cases it pays cannot be stated, as {found.reason}."
    if found.outcome == "no evidence":
        return f"{title}: no evidence that it pays at any number of labelled cases ({tried})."
    if found.outcome == "hurts":
        others = "" if found.hurting == found.cases else "; there is no evidence that it pays with any other number"
        return f"{title} hurts with {_numbers(found.hurting)}{others}."
    if found.outcome == "pays":
        if len(found.paying) == len(found.cases):
            return f"{title} pays at every number of labelled cases tried ({found.cases[0]:g} to {found.cases[-1]:g})."
        return f"{title} pays with {_numbers(found.paying)}{_others(found)}."
    if found.crossing is not None:
        return (
            f"{title} pays below about {found.crossing:.0f} labelled cases (95 % interval {_interval(found)}; {tried})."
        )
    later = "above, there is no evidence yet"
    if found.low is not None:
        later = f"from about {found.low:.0f} on the gain may be zero"
    return f"{title} pays with {_numbers(found.paying)}; {later}, and it has no end in the range ({tried})."


def _numbers(cases: tuple[float, ...]) -> str:
    return f"{join_names([f'{count:g}' for count in cases])} labelled case{'' if cases == (1,) else 's'}"


def _others(found: Crossing) -> str:
    neither = tuple(count for count in found.cases if count not in found.paying + found.hurting)
    hurts = f"; it hurts with {_numbers(found.hurting)}" if found.hurting else ""
    return hurts + (f"; no evidence yet with {_numbers(neither)}" if neither else "")


def _interval(found: Crossing) -> str:
    return f"{found.low:.0f} to " + (f"more than {found.cases[-1]:g}" if found.high is None else f"{found.high:.0f}")
