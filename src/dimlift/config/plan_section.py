"""The section `plan` of a configuration, generated from the fields of `DepthPlan`."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from pydantic import Field, create_model, model_validator

from dimlift.config.sections import Section
from dimlift.errors import ConfigError, UnknownNameError
from dimlift.lifting.depth_plan import DepthPlan


class _PlanSection(Section):
    @model_validator(mode="after")
    def _check_plan(self) -> Self:
        try:
            self._to_plan()
        except UnknownNameError as fault:  # pydantic reports a ValueError with the key
            raise ValueError(str(fault)) from None
        return self

    def _to_plan(self, **changes: Any) -> DepthPlan:
        options = {**self.model_dump(), **changes}
        return DepthPlan(**{**options, "spacing": None if options["spacing"] == "data" else options["spacing"]})

    def depth_plan(self, spacing: tuple[float, float, float] | None) -> DepthPlan:
        """Return the plan for volumes of this spacing; None if it varies.

        Raises:
            ConfigError: if the plan follows the spacing of the data, and this varies.
        """
        if self.model_dump()["spacing"] != "data":
            return self._to_plan()
        if spacing is None:
            raise ConfigError(
                "plan.spacing=data, and the training volumes have different spacings; set preprocessing.spacing to "
                "median, or give three numbers"
            )
        return self._to_plan(spacing=spacing)


def _yaml_type(hint: Any) -> Any:
    """Return the type of a field in YAML: without functions, and with a dict in place of any mapping."""
    if len(get_args(hint)) > 1 and get_origin(hint) not in (Literal, tuple, Mapping):
        members = tuple(_yaml_type(member) for member in get_args(hint) if get_origin(member) is not Callable)
        return Union[members]  # noqa: UP007 - its members are not known here
    return dict[get_args(hint)] if get_origin(hint) is Mapping else hint  # type: ignore[misc]


def _plan_fields() -> dict[str, Any]:
    hints = {name: _yaml_type(hint) for name, hint in get_type_hints(DepthPlan).items()}
    hints["spacing"] = Literal["data"] | hints["spacing"]
    texts = {option.name: option.metadata["description"] for option in fields(DepthPlan)}
    texts["spacing"] += " `data` takes the spacing of the training volumes."
    return {
        option.name: (hints[option.name], Field(default=option.default, description=texts[option.name]))
        for option in fields(DepthPlan)
    }


if TYPE_CHECKING:
    PlanSection = _PlanSection  # its fields are known at run time only
else:
    PlanSection = create_model(
        "PlanSection",
        __base__=_PlanSection,
        __module__=__name__,
        __doc__="How a 2D network is given depth: the fields of `DepthPlan`.",
        **_plan_fields(),
    )
