from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"

PARSE_ONLY = """
import org.codehaus.groovy.control.*
def unit = new CompilationUnit()
unit.addSource(new File(args[0]))
unit.compile(Phases.CONVERSION)
println "parsed"
"""


def run_groovy(program: Path, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["groovy", str(program), *map(str, arguments)], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def parser(tmp_path_factory) -> Path:
    if shutil.which("groovy") is None:
        pytest.skip("no groovy installed")
    folder = tmp_path_factory.mktemp("groovy")
    hello = folder / "hello.groovy"
    hello.write_text("println 'hello'")
    if run_groovy(hello).stdout.strip() != "hello":
        pytest.skip("the groovy that is installed doesn't run (is JAVA_HOME set?)")
    program = folder / "parse.groovy"
    program.write_text(PARSE_ONLY)
    return program


def test_the_groovy_script_parses(parser):
    done = run_groovy(parser, SCRIPTS / "segment_in_qupath.groovy")
    assert done.stdout.strip() == "parsed", done.stderr


def test_the_parser_notices_a_broken_script(parser, tmp_path):
    broken = tmp_path / "broken.groovy"
    broken.write_text((SCRIPTS / "segment_in_qupath.groovy").read_text("utf-8") + "\nif (")
    assert run_groovy(parser, broken).returncode != 0


def test_nothing_that_was_drawn_meanwhile_is_lost_in_qupath(parser):
    checks = Path(__file__).parent / "merge.groovy"
    done = run_groovy(checks, SCRIPTS / "segment_in_qupath.groovy")
    assert done.stdout.strip() == "all good", done.stdout + done.stderr


@pytest.fixture
def cohort(tmp_path):
    """Run segment_cohort.sh with a stand-in for qpbridge that notes its arguments."""
    fake = tmp_path / "bin" / "qpbridge"
    fake.parent.mkdir()
    fake.write_text(
        '#!/usr/bin/env bash\nprintf "%s|" "$@" >> "$LOG"; echo >> "$LOG"\n'
        'case "$2" in *bad*) exit 1;; *partly*) exit 3;; *stop*) exit 130;; esac\n'
    )
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    log = tmp_path / "log"

    def run(*arguments: str) -> tuple[int, list[str], str]:
        log.write_text("")
        env = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}", "LOG": str(log)}
        done = subprocess.run(
            [str(SCRIPTS / "segment_cohort.sh"), *arguments],
            env=env,
            capture_output=True,
            text=True,
        )
        return done.returncode, log.read_text().splitlines(), done.stderr

    return run


def test_a_cohort_goes_on_after_failures(cohort):
    code, calls, messages = cohort(
        "a b.qpproj", "bad.qpproj", "c.qpproj", "--", "--within", "Immune cells"
    )
    assert code == 1
    assert calls == [
        "segment|a b.qpproj|--within|Immune cells|",
        "segment|bad.qpproj|--within|Immune cells|",
        "segment|c.qpproj|--within|Immune cells|",
    ]
    assert "1 of 3" in messages
    assert "bad.qpproj" in messages


@pytest.mark.parametrize(
    ("projects", "expected"),
    [
        (["a.qpproj"], 0),
        (["partly.qpproj", "a.qpproj"], 3),
        (["partly.qpproj", "bad.qpproj"], 1),
        (["bad.qpproj", "partly.qpproj"], 1),
        ([], 2),
    ],
)
def test_exit_codes_of_a_cohort(cohort, projects, expected):
    assert cohort(*projects)[0] == expected


def test_an_interrupted_cohort_ends(cohort):
    code, calls, _ = cohort("stop.qpproj", "a.qpproj")
    assert code == 130
    assert len(calls) == 1
