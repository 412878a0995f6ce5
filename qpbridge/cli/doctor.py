"""``qpbridge doctor``: what is installed, what is seen, and whether it works."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

import qpbridge
from qpbridge.cli.options import json_option
from qpbridge.cli.output import print_json, say
from qpbridge.cli.wording import Command

if TYPE_CHECKING:
    from qpbridge.api.doctor import Examination


@click.command(cls=Command)
@json_option
def doctor(as_json: bool) -> None:
    """Show what qpbridge finds on this machine, and test that it can segment."""
    report = qpbridge.doctor()
    if as_json:
        print_json(report)
    else:
        _print(report)
    if not report["ok"]:
        sys.exit(1)


def _print(report: Examination) -> None:
    say(f"qpbridge {report['qpbridge']}, Python {report['python']}, {report['platform']}")
    say(", ".join(f"{name} {number}" for name, number in report["packages"].items()))
    say(f"Processors: {report['cpus']}; GPUs: {', '.join(report['gpus']) or 'none'}")
    say(f"QuPath for paquo: {report['qupath'] or 'none found (not needed)'}")
    for name, result in report["models"].items():
        say(f"Model {name}: {result}")
    if not report["models"]:
        say("No models found: install qpbridge again")
