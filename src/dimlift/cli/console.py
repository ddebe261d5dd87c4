"""Output of the commands: results to stdout, progress and errors to stderr."""

import errno
import sys
import traceback
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import typer
from click.exceptions import UsageError
from typer.core import TyperGroup

from dimlift.cli.file_errors import describe_file_error, describe_memory_error
from dimlift.cli.printable_console import PrintableConsole
from dimlift.errors import DimliftError, RunInterrupted
from dimlift.records.printable_text import printable

out = PrintableConsole()
err = PrintableConsole(stderr=True)

EXIT_USER_ERROR = 2
"""Exit code of every error that the user can fix."""

EXIT_INCOMPLETE = 3
"""Exit code of a command that did its work but left out cases (`--skip-corrupt`); they are listed at the end."""

EXIT_TEMPFAIL = 75
"""Exit code of a run stopped by SIGTERM or SIGUSR1 (EX_TEMPFAIL of sysexits.h); the same command resumes it."""

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class CommandGroup(TyperGroup):
    """Commands whose user errors are printed without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the selected command.

        Raises:
            Exit: with code 2 on a `DimliftError`, a file error or out of memory, 75 on SIGTERM or SIGUSR1, 130 on
                Ctrl-C.
        """
        try:
            return super().invoke(ctx)
        except RunInterrupted as error:
            print_error(str(error))
            raise typer.Exit(EXIT_INTERRUPTED if error.signal_name == "SIGINT" else EXIT_TEMPFAIL) from error
        except DimliftError as error:
            print_error(str(error))
            raise typer.Exit(EXIT_USER_ERROR) from error
        except UsageError as error:
            error.message = printable(error.message)  # type: ignore[misc]
            raise
        except OSError as error:
            if error.errno == errno.EPIPE:  # `dimlift ... | head`
                raise
            print_error(describe_file_error(error))
            raise typer.Exit(EXIT_USER_ERROR) from error
        except (MemoryError, RuntimeError) as error:
            if (message := describe_memory_error(error)) is None:
                raise
            print_error(message)
            raise typer.Exit(EXIT_USER_ERROR) from error
        except KeyboardInterrupt as error:
            typer.echo("\ninterrupted; finished results are on disk", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from error


def print_error(message: str) -> None:
    """Print an error message without line wrapping, so that paths can be copied."""
    typer.secho("error: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    typer.echo(printable(message), err=True)


def exit_after_skipping(skipped: Sequence[str]) -> None:
    """List what was left out, one message each.

    Raises:
        Exit: with code 3, if there is any.
    """
    if skipped:
        lines = "".join(f"\n  {message}" for message in skipped)
        print_error(f"left out {len(skipped)} case{'s' if len(skipped) > 1 else ''}; the others are finished:{lines}")
        raise typer.Exit(EXIT_INCOMPLETE)


def print_escaped_warnings_and_tracebacks() -> None:
    """Print warnings and the traceback of a bug, which may quote foreign files, without control characters."""
    format_warning = warnings.formatwarning

    def format_escaped(*arguments: Any, **options: Any) -> str:
        return printable(format_warning(*arguments, **options))

    def print_escaped(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace))))

    warnings.formatwarning = format_escaped
    sys.excepthook = print_escaped
