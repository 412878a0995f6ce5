"""The command line: every command parses, calls the library, and prints."""

from __future__ import annotations

import contextlib
import importlib
import io
import keyword
import signal
import sys

import click

from qpbridge._version import __version__

_COMMANDS = {
    "annotate": "Draw the tissue in the images of PROJECT, or say what these images are like.",
    "compare": "Tell what was added, lost, moved and reclassified from PROJECT to OTHER, and score "
    "PROJECT.",
    "create": "Create the QuPath project PROJECT (a new .qpproj file) around slides.",
    "doctor": "Show what qpbridge finds on this machine, and test that it can segment.",
    "evaluate": "Score a model on labelled images, or what is in PROJECT against what a person "
    "drew there.",
    "export": "Export objects of PROJECT: GeoJSON in QuPath's dialect, or a table.",
    "history": "List what qpbridge did to the images of PROJECT, with all settings.",
    "import": "Add the objects of a GeoJSON FILE (.geojson, .json, .gz, .zip) to an image of "
    "PROJECT.",
    "info": "Show the images of PROJECT, what is annotated in them, and what qpbridge has added.",
    "measure": "Measure the objects in the annotations of PROJECT again, and sum them up on the "
    "annotations.",
    "models": "List and describe the models.",
    "quality": "Tell how much of the annotations of PROJECT is empty, black fill, ink, or out of "
    "focus.",
    "relocate": "Write into PROJECT where its images are now, so that QuPath finds them too.",
    "remove": "Remove the objects that qpbridge made in PROJECT, and nothing else.",
    "segment": "Segment inside the annotations of PROJECT, and write what is found below these "
    "annotations.",
    "train": "Train a model on labelled images and write it as a bundle.",
    "undo": "Take back what the last segment or remove did to PROJECT.",
}
"""The commands, and the first sentence of each one's help: the list of them imports none."""

INTERRUPTED = 130
"""As shells count a program that Ctrl-C ended, so that scripts around it end too."""


class _Commands(click.Group):
    """Commands by name, each imported only when used: torch takes seconds to import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command = getattr(importlib.import_module(f"qpbridge.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = formatter.width - 6 - max(map(len, _COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, click.Command(name, help=_COMMANDS[name]).get_short_help_str(width))
                    for name in self.list_commands(ctx)
                ]
            )

    def invoke(self, ctx: click.Context) -> object:
        # A name that is no text in this encoding is printed escaped, as JSON has it too.
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        # Cluster schedulers end a job this way: leave everything as tidy as after Ctrl-C.
        with contextlib.suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(
                "Interrupted. What was written is complete, the rest is as before.", err=True
            )
            return ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="qpbridge")
def main() -> None:
    """Segment nuclei, glands and vessels in QuPath projects, and write them back as objects.

    \b
    A first run:
      qpbridge create project.qpproj slide.svs --annotate-tissue
      qpbridge segment project.qpproj
    """  # noqa: D301 (it is the character itself that click looks for)
