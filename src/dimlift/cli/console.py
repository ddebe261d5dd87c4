"""Output of the commands: results to stdout, progress and errors to stderr."""

import errno
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from dimlift.errors import DimliftError, RunInterrupted

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

EXIT_USER_ERROR = 2
"""Exit code of every error that the user can fix."""

EXIT_TEMPFAIL = 75
"""Exit code of a run stopped by SIGTERM or SIGUSR1 (EX_TEMPFAIL of sysexits.h); the same command resumes it."""

EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C."""

_DISK_ERRORS = {
    errno.ENOSPC: "free some space or write elsewhere with --out",
    errno.EDQUOT: "free some space or write elsewhere with --out",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EROFS: "write elsewhere with --out",
}


class CommandGroup(TyperGroup):
    """Commands whose user errors are printed without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the selected command.

        Raises:
            Exit: with code 2 on a `DimliftError` or a disk error, 75 on SIGTERM or SIGUSR1, 130 on Ctrl-C.
        """
        try:
            return super().invoke(ctx)
        except RunInterrupted as error:
            print_error(str(error))
            raise typer.Exit(EXIT_INTERRUPTED if error.signal_name == "SIGINT" else EXIT_TEMPFAIL) from error
        except DimliftError as error:
            print_error(str(error))
            raise typer.Exit(EXIT_USER_ERROR) from error
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise
            print_error(f"{error.filename or 'the disk'}: {error.strerror}; {_DISK_ERRORS[error.errno]}")
            raise typer.Exit(EXIT_USER_ERROR) from error
        except KeyboardInterrupt as error:
            typer.echo("\ninterrupted; finished results are on disk", err=True)
            raise typer.Exit(EXIT_INTERRUPTED) from error


def print_error(message: str) -> None:
    """Print an error message without line wrapping, so that paths can be copied."""
    typer.secho("error: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    typer.echo(message, err=True)
