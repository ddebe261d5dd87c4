"""The console of the command line, which prints text of foreign files as it is."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from dimlift.records.printable_text import printable


class PrintableConsole(Console):
    """Console that prints any text as it is: control characters as escapes, no markup, no emoji codes.

    Styles are given as `style=` or as `rich.text.Text`. Progress bars and tables are rendered by the same method.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print strings, paths, and anything else that rich renders."""
        super().print(*(str(each) if isinstance(each, Path) else each for each in objects), **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return text whose control characters are escapes, before rich measures it or removes some of them."""
        return super().render_str(printable(text), **options)

    def status(self, status: RenderableType, **options: Any) -> Status:
        """Show a spinner with a text."""
        return super().status(self.render_str(status) if isinstance(status, str) else status, **options)

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render text without control characters."""
        if isinstance(renderable, Text) and (plain := printable(renderable.plain)) != renderable.plain:
            renderable = _with_plain(renderable, plain)
        return super().render(renderable, options)


def _with_plain(text: Text, plain: str) -> Text:
    """Return another text in the same style; the styles of its parts are lost."""
    return Text(
        plain, text.style, justify=text.justify, overflow=text.overflow, no_wrap=text.no_wrap, end=text.end,
        tab_size=text.tab_size,
    )  # fmt: skip
