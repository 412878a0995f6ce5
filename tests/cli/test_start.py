"""The program starts at once: what a command does not need is not imported."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest
from models.test_foreign import Level, write
from slide_factory import make_slide

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


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["show", "nuclei_he"]])
def test_models_are_described_without_their_networks(arguments):
    assert imported("models", *arguments) == []
    assert imported("models", "show", "none_such", code=1) == []


def test_work_on_projects_without_networks(tmp_path):
    slide = make_slide(tmp_path / "a.svs", width=300, height=300)
    project = tmp_path / "project.qpproj"
    assert imported("create", project, slide.path, "--annotate-full") == []
    for backend in ("auto", "embedded"):
        assert imported("info", project, "--backend", backend) == []
    assert imported("export", project, "--format", "geojson", "-o", tmp_path / "a.geojson") == []
    for rows in ("objects", "regions", "images"):
        table = tmp_path / f"{rows}.csv"
        assert imported("export", project, "--format", "csv", "--rows", rows, "-o", table) == []
    assert imported("remove", project) == []
    assert imported("relocate", project) == []


@pytest.fixture
def segmented(tmp_path, project, qpbridge):
    """The project, with nuclei, glands, vessels and what is measured of them and of regions."""
    for target in ("glands", "vessels"):
        own = {"target": target, "mpp": 0.5, "decode": {"min_area_um2": 12.0}}
        dark = write(tmp_path / target, script=Level(), metadata={"qpbridge": own})
        qpbridge("segment", project, "--target", target, "--model", dark, "--trust")
    qpbridge("segment", project, "--features", "all")
    qpbridge("measure", project, "--grading", "mvd")
    return project


def test_work_on_what_was_segmented_without_networks(tmp_path, segmented):
    table = tmp_path / "table.csv"
    for rows in ("objects", "regions", "images"):
        found = imported("export", segmented, "--rows", rows, "-o", table, "--format", "csv")
        assert found == (["scipy"] if rows == "images" else [])  # for hot spots of vessels
    told = table.read_text("utf-8")
    for name in ("Nuclei: Orientation entropy", "Glands: Touching %", "Vessels: Count"):
        assert name in told
    assert imported("export", segmented, "--format", "geojson", "-o", tmp_path / "a.geojson") == []
    assert imported("info", segmented) == []
    assert imported("relocate", segmented) == []
    assert imported("history", segmented, "--deleted") == []
    assert imported("remove", segmented) == []
    assert imported("undo", segmented) == []


def test_segmenting_takes_no_more_than_it_needs(project):
    """Not torch's compiler, nor what other targets or kinds of image are read with."""
    names = ("skimage", "sympy", "pandas", "matplotlib", "paquo", "jpype")
    script = (
        "import sys\n"
        "from qpbridge.__main__ import run\n"
        f"sys.argv = ['qpbridge', 'segment', {str(project)!r}, '--backend', 'embedded']\n"
        "try:\n"
        "    run()\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "    loaded = {'torch._dynamo'} | {name.partition('.')[0] for name in sys.modules}\n"
        "    loaded -= {'torch._dynamo'} - set(sys.modules)\n"
        f"    print('HEAVY', *sorted(loaded & {{'torch._dynamo', *{names!r}}}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["HEAVY"]


def test_the_library_itself_is_light():
    script = "import sys, qpbridge; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not {*HEAVY, "pandas", "paquo", "jpype", "matplotlib"} & set(done.stdout.split())


def test_every_command_is_in_the_module_of_its_name():
    for name in _COMMANDS:
        module = f"{name}_" if name == "import" else name
        assert isinstance(
            vars(importlib.import_module(f"qpbridge.cli.{module}"))[module], click.Command
        )
