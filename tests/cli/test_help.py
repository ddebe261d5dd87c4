"""What the command line says of itself."""

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ask

COMMANDS = ["demo", "lift", "check", "train", "predict", "compare", "report", "export", "push", "pull"]


def test_help_lists_every_command():
    answer = ask("--help")
    assert answer.code == 0
    assert all(f" {command} " in answer.out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_an_example(command):
    answer = ask(command, "--help")
    assert answer.code == 0
    assert f"dimlift {command} " in answer.out.partition("Example")[2]


def test_the_installed_command_answers_without_loading_torch():
    code = (
        "import sys\nfrom dimlift.cli.app import main\nsys.argv = ['dimlift', '--version']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    print(end.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, answer = done.stdout.splitlines()
    assert version.startswith("dimlift ")
    assert answer == "0 False"


def test_an_error_leaves_the_process_with_code_two_and_no_traceback(tmp_path):
    command = Path(sys.executable).with_name("dimlift")
    done = subprocess.run([command, "check", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_an_unknown_command_is_an_error_too():
    assert ask("trian").code == 2
