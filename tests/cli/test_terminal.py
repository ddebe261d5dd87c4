"""Text of files is printed as it is: no escape sequence, no markup and no emoji code takes effect."""

import io
import json
import subprocess
import sys

import pytest
from command_line import QUICK, run_cli, run_rejected
from rich.table import Table
from rich.text import Text

from dimlift.cli.printable_console import PrintableConsole
from dimlift.cli.progress_bars import ProgressBars
from dimlift.progress import Event

NAMES = {
    "[red]x[/]": "[red]x[/]",
    "[/b]": "[/b]",
    "\x1b[2Jx": r"\x1b[2Jx",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "a\rb": r"a\rb",
    "\x9b31m": r"\x9b31m",
    "\u202egnp": r"\u202egnp",
    "\udcff": r"\udcff",
    ":smile:": ":smile:",
    "<script>": "<script>",
}


def rendered(*objects, **options):
    console = PrintableConsole(file=io.StringIO(), force_terminal=True, color_system=None, width=200)
    console.print(*objects, **options)
    return console.file.getvalue()


def table_of(name):
    table = Table(name, "text", title=name)
    table.add_row(name, name)
    return table


@pytest.mark.parametrize(("name", "shown"), NAMES.items())
def test_console_prints_names_as_they_are(name, shown):
    assert rendered(name) == f"{shown}\n"
    assert shown in rendered(f"scan {name}", style="bold")
    output = rendered(table_of(name))
    assert output.count(shown) == 4  # title, heading, and two cells
    output.encode()
    assert name not in rendered(Text(name)) or name == shown


@pytest.mark.parametrize(("name", "shown"), NAMES.items())
def test_progress_bars_print_names_as_they_are(name, shown):
    console = PrintableConsole(file=io.StringIO(), force_terminal=True, color_system=None, width=200)
    with ProgressBars(console) as bars:
        bars(Event("train", name, 0.5, run_index=1, num_runs=2, loss=0.5))
        bars(Event("failed", name, 1.0, run_index=1, num_runs=2, message=name))
        bars(Event("done", name, 1.0, run_index=2, num_runs=2))
    output = console.file.getvalue()
    assert f"[1/2] {shown} {shown}" in output
    assert f"{shown} training" in output
    for start in ("\x1b[2Jx", "\x1b]", "\x9b", "\u202e", "\udcff"):
        assert start not in output


def test_error_messages_are_escaped(tmp_path):
    folder = tmp_path / "\x1b]0;title\x07[red]"
    assert r"\x1b]0;title\x07[red]" in run_rejected("check", folder)
    result = run_cli("check", tmp_path, "\x1b[2J")
    assert (result.code, "\x1b[2J" in result.out + result.err) == (2, False)


def test_warnings_and_tracebacks_are_escaped():
    code = (
        "from dimlift.cli.console import print_escaped_warnings_and_tracebacks\n"
        "import warnings\nprint_escaped_warnings_and_tracebacks()\n"
        "warnings.warn('\\x1b[2J')\nraise ValueError('\\x1b[3J')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "\x1b" not in done.stderr
    assert r"UserWarning: \x1b[2J" in done.stderr
    assert r"ValueError: \x1b[3J" in done.stderr


def test_train_prints_class_and_folder_names_with_brackets(dataset, tmp_path):
    root = dataset(labels={"background": 0, "[/x]": 1, "t \x1b[2J": 2})
    result = run_cli("train", root, *QUICK, "--out", tmp_path / "run[/b]")
    assert result.code == 0, result.err
    assert "run[/b]" in result.out.replace("\n", "")
    assert "[/x]" in result.out
    assert r"t \x1b[2J" in result.out
    (record,) = (tmp_path / "run[/b]" / "records").glob("*.json")
    assert {score["class"] for score in json.loads(record.read_text())["scores"]} >= {"[/x]", "t \x1b[2J"}
