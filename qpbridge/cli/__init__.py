"""The command line: every command parses, calls the library, and prints."""

from __future__ import annotations

import contextlib
import importlib
import io
import keyword
import signal
import sys

import click

_COMMANDS = (
    "create",
    "doctor",
    "evaluate",
    "export",
    "import",
    "info",
    "measure",
    "models",
    "relocate",
    "remove",
    "segment",
    "train",
)
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
@click.version_option(package_name="qpbridge")
def main() -> None:
    r"""Segment nuclei, glands and vessels in QuPath projects, and write them back as objects.

    \b
    A first run:
      qpbridge create project.qpproj slide.svs --annotate-tissue
      qpbridge segment project.qpproj
    """
