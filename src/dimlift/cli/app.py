"""The command `dimlift`, assembled from one file per subcommand."""

from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from dimlift.cli.check import check
from dimlift.cli.compare import compare
from dimlift.cli.console import Commands
from dimlift.cli.demo import demo
from dimlift.cli.embed import embed
from dimlift.cli.export import export
from dimlift.cli.hub import pull, push
from dimlift.cli.lift import lift
from dimlift.cli.paint import paint
from dimlift.cli.predict import predict
from dimlift.cli.pretrain import pretrain
from dimlift.cli.probe import probe
from dimlift.cli.report import report
from dimlift.cli.stages import stages
from dimlift.cli.threads import settle_threads
from dimlift.cli.train import train

app = typer.Typer(
    name="dimlift",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # a fault of ours: the plain traceback is what a report of it needs
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dimlift {installed_version('dimlift')}")
        raise typer.Exit


@app.callback()
def dimlift(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Give pretrained 2D vision networks a third dimension, and find out whether it paid.

    New here? `dimlift demo` needs no data, no network and about ten minutes.
    """


for command in (demo, lift, check, paint, pretrain, train, predict, compare, report, embed, probe, stages):
    app.command()(command)
for handing_over in (export, push, pull):
    app.command()(handing_over)


def main() -> None:
    """Entry point of the command line."""
    settle_threads()
    app()
