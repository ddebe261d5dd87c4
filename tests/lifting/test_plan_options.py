"""DepthPlan is the only statement of a plan: configuration, command line and documentation follow from it."""

import inspect
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import typer
from torch import nn
from typer.testing import CliRunner

import dimlift
from dimlift import DepthPlan
from dimlift.cli.lift import lift as lift_command
from dimlift.cli.plan_options import with_plan_options
from dimlift.config.plan_section import PlanSection
from dimlift.errors import ConfigError
from dimlift.inflation.profiles import PROFILES
from dimlift.lifting.plan_table import with_plan_table
from dimlift.studies.load_config import parse

ROOT = Path(__file__).parents[2]
FIELDS = [option.name for option in fields(DepthPlan)]
OTHER_VALUES = {
    "kernel": ("layer1=5,stage2=3", {"layer1": 5, "stage2": 3}),
    "inflation": ("gaussian:0.75", "gaussian:0.75"),
    "axes": ("depth,height", ("depth", "height")),
    "stride": ("kernel", "kernel"),
    "depth_pool": ("1,2", (1, 2)),
    "depth_stride": ("layer2=2,stage3=3", {"layer2": 2, "stage3": 3}),
    "depth_padding": ("zero", "zero"),
    "attention": ("4", 4),
    "pool": ("volume", "volume"),
    "norm": ("volume", "volume"),
    "slice_pool": ("max", "max"),
    "factorised": (None, True),
    "spacing": ("5,0.8,0.8", (5, 0.8, 0.8)),
}


def plan_of_command(*arguments):
    """Parse arguments as `dimlift lift` does, and return the plan."""
    plans = []

    def record(plan):
        plans.append(plan)

    record.__annotations__["plan"] = DepthPlan
    app = typer.Typer()
    app.command()(with_plan_options(record))
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return plans[0]


def test_every_field_is_a_configuration_key_and_an_option():
    assert list(PlanSection.model_fields) == FIELDS
    assert set(FIELDS) <= set(inspect.signature(lift_command).parameters)
    assert set(OTHER_VALUES) == set(FIELDS)
    for option in fields(DepthPlan):
        assert PlanSection.model_fields[option.name].description.startswith(option.metadata["description"])


def test_defaults_are_those_of_the_plan():
    assert plan_of_command() == PlanSection().depth_plan(None) == DepthPlan()


@pytest.mark.parametrize("name", FIELDS)
def test_field_has_the_same_value_from_every_source(name):
    text, value = OTHER_VALUES[name]
    flag = f"--{name.replace('_', '-')}"
    expected = DepthPlan(**{name: value})
    assert plan_of_command(flag, *([] if text is None else [text])) == expected
    assert parse({name: value}, PlanSection).depth_plan(None) == expected


def test_registered_inflation_is_accepted_everywhere(monkeypatch):
    monkeypatch.setitem(PROFILES, "ramp", lambda k: [2 * (d + 1) / (k * (k + 1)) for d in range(k)])
    plan = DepthPlan(inflation="ramp")
    assert parse({"inflation": "ramp"}, PlanSection).depth_plan(None) == plan
    assert plan_of_command("--inflation", "ramp") == plan
    conv = nn.Conv2d(3, 4, 3)
    lifted = dimlift.lift(nn.Sequential(conv), plan)
    torch.testing.assert_close(lifted.network[0].weight[:, :, 2], conv.weight * 0.5)
    assert lifted.certificate.holds


def test_configuration_rejects_invalid_plan_with_its_key():
    with pytest.raises(ConfigError, match="unknown inflation 'ramp'; choose one of: acs, average"):
        parse({"inflation": "ramp"}, PlanSection)
    with pytest.raises(ConfigError, match="'attention' must be"):
        parse({"attention": "windows"}, PlanSection)
    with pytest.raises(ConfigError, match="of at least 1, got 0"):
        parse({"kernel": 0}, PlanSection)


def test_configuration_takes_spacing_of_the_data():
    section = parse({"spacing": "data"}, PlanSection)
    assert section.depth_plan((5.0, 1.0, 1.0)) == DepthPlan(spacing=(5.0, 1.0, 1.0))
    with pytest.raises(ConfigError, match="different spacings"):
        section.depth_plan(None)


def test_documentation_table_is_up_to_date():
    page = (ROOT / "docs" / "lifting.md").read_text(encoding="utf-8")
    assert page == with_plan_table(page), "run: python -m dimlift.lifting.plan_table docs/lifting.md"
