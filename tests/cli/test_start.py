"""The program starts at once: what a command does not need is not imported."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from qpbridge.cli import _COMMANDS, main

HEAVY = ("torch", "monai", "scipy", "skimage")


def imported(*arguments, code: int = 0, names: tuple[str, ...] = HEAVY) -> list[str]:
    """Run the program in a process of its own, and list the heavy packages in it at its end."""
    script = (
        "import sys\n"
        "from qpbridge.cli import main\n"
        "try:\n"
        f"    main({[str(a) for a in arguments]!r})\n"
        "except SystemExit as end:\n"
        "    loaded = {name.partition('.')[0] for name in sys.modules}\n"
        f"    print('HEAVY', *sorted(loaded & set({names!r})), file=sys.stderr)\n"
        "    raise\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("HEAVY"), done.stderr
    return line.split()[1:]


def test_the_list_of_commands_has_the_first_sentence_of_each():
    context = click.Context(main)
    for name, said in _COMMANDS.items():
        command = main.get_command(context, name)
        assert said == command.get_short_help_str(10_000)
    listed = main.get_help(context)
    for name in _COMMANDS:
        assert f"  {name} " in listed


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], []])
def test_what_the_program_is_takes_no_command(arguments):
    code = 0 if arguments else 2
    assert imported(*arguments, code=code, names=(*HEAVY, "pandas", "paquo", "tifffile")) == []


def test_the_library_itself_is_light():
    script = "import sys, qpbridge; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not {*HEAVY, "pandas", "paquo", "jpype", "matplotlib"} & set(done.stdout.split())
