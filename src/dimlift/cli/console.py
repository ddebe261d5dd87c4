"""Where the commands print: results to stdout, everything about the run to stderr."""

import errno
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from dimlift.errors import DimliftError, Stopped

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

FAULT = 2
"""Exit code of every error a user can do something about."""

REQUEUE = 75
"""Exit code of a run that SIGTERM or SIGUSR1 stopped: EX_TEMPFAIL of sysexits.h; start the same command again."""

_STORAGE = {
    errno.ENOSPC: "free some space or write elsewhere with --out",
    errno.EDQUOT: "free some space or write elsewhere with --out",
    errno.EACCES: "check who may read and write it",
    errno.EPERM: "check who may read and write it",
    errno.EROFS: "write elsewhere with --out",
}


class Commands(TyperGroup):
    """The commands, with errors that belong to the user told in one block and without a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command.

        Raises:
            Exit: with code 2 on a `DimliftError` or a disk that refuses, 75 when a batch system stopped it, 130 when
                stopped from the keyboard.
        """
        try:
            return super().invoke(ctx)
        except Stopped as fault:
            tell(str(fault))
            raise typer.Exit(REQUEUE) from fault
        except DimliftError as fault:
            tell(str(fault))
            raise typer.Exit(FAULT) from fault
        except OSError as fault:
            if fault.errno not in _STORAGE:
                raise
            tell(f"{fault.filename or 'the disk'}: {fault.strerror}; {_STORAGE[fault.errno]}")
            raise typer.Exit(FAULT) from fault
        except KeyboardInterrupt as stop:
            typer.echo("\nstopped; what was finished is on disk", err=True)
            raise typer.Exit(130) from stop


def tell(message: str) -> None:
    """Print an error as one block that can be read aloud and whose paths can be copied."""
    typer.secho("error: ", fg=typer.colors.RED, bold=True, nl=False, err=True)
    typer.echo(message, err=True)
