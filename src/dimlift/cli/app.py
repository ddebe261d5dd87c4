"""The command `dimlift`, assembled from one file per subcommand."""

from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from dimlift.cli.check import check
from dimlift.cli.compare import compare
from dimlift.cli.console import CommandGroup, print_escaped_warnings_and_tracebacks
from dimlift.cli.demo import demo
from dimlift.cli.embed import embed
from dimlift.cli.evaluate import evaluate
from dimlift.cli.examples import examples
from dimlift.cli.export import export
from dimlift.cli.hub import pull, push
from dimlift.cli.lift import lift
from dimlift.cli.predict import predict
from dimlift.cli.pretrain import pretrain
from dimlift.cli.probe import probe
from dimlift.cli.project_features import project_features
from dimlift.cli.report import report
from dimlift.cli.run import run
from dimlift.cli.self_train import self_train_command
from dimlift.cli.threads import set_thread_defaults
from dimlift.cli.train import train
from dimlift.cli.weights import weights

app = typer.Typer(
    name="dimlift",
    cls=CommandGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # a bug is reported with the plain traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"dimlift {installed_version('dimlift')}")
        raise typer.Exit


@app.callback()
def dimlift(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Adapt pretrained 2D vision networks to 3D data, and measure whether this improves results.

    To try it: `dimlift demo` needs no data, no network access and about ten minutes.
    """


for command in (demo, run, lift, check, project_features, pretrain, train, predict, compare, report, embed, probe):
    app.command()(command)
app.command("self-train")(self_train_command)
for command in (weights, evaluate, examples, export, push, pull):
    app.command()(command)


def main() -> None:
    """Run the command line."""
    set_thread_defaults()
    print_escaped_warnings_and_tracebacks()
    app()
