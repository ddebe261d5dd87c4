"""Text cells of CSV files are text in a spreadsheet; numbers are numbers."""

import csv
import io

import pytest

from dimlift.records.csv_text import to_csv


@pytest.mark.parametrize("formula", ["=cmd()", "+1+cmd()", "-2+cmd()", "@SUM(A1)", "\t=1", "=1\n2"])
def test_formulas_become_text(formula):
    ((cell,),) = csv.reader(io.StringIO(to_csv([[formula]]), newline=""))
    assert cell == f"'{formula}"


def test_control_characters_end_no_row():
    assert to_csv([["\r=1", "a\rb", "\x1b[2J"]]) == "\\r=1,a\\rb,\\x1b[2J\n"


def test_numbers_and_other_text_are_unchanged():
    assert to_csv([[-1, -0.25, 1e-9, None, True, "a, b", "x=y", "1-2"]]) == '-1,-0.25,1e-09,,True,"a, b",x=y,1-2\n'


def test_text_read_back_is_not_marked_twice():
    once = to_csv([["=a"]])
    assert to_csv(csv.reader(io.StringIO(once))) == once
