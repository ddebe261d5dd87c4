"""Help texts and exit codes of the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run_cli

COMMANDS = [
    "demo", "lift", "check", "project-features", "pretrain", "train", "predict", "compare", "report", "embed", "probe",
    "self-train", "export", "push", "pull",
]  # fmt: skip


def test_help_lists_every_command():
    result = run_cli("--help")
    assert result.code == 0
    assert all(f" {command} " in result.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_command_shows_example(command):
    result = run_cli(command, "--help")
    assert result.code == 0
    assert f"dimlift {command} " in result.out.partition("Example")[2]


def test_version_does_not_import_torch():
    code = (
        "import sys\nfrom dimlift.cli.app import main\nsys.argv = ['dimlift', '--version']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, status = done.stdout.splitlines()
    assert version.startswith("dimlift ")
    assert status == "0 False"


def test_error_has_exit_code_two_and_no_traceback(tmp_path):
    command = Path(sys.executable).with_name("dimlift")
    done = subprocess.run([command, "check", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_unknown_command_is_an_error():
    assert run_cli("trian").code == 2
