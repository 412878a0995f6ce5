"""What a run leaves in an image: a step in QuPath's history, and a line on its regions.

The history, which lies in the image's data, is the one place that says what was run and how:
whoever asks later, `qpbridge history` too, reads it there.
"""

from __future__ import annotations

import datetime
import getpass
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

from qpbridge._version import __version__
from qpbridge.project.interface import WorkflowStep

PREFIX = "qpbridge: "
"""Of the names of all steps of qpbridge."""

PARAMETER = "run"
"""Of a step: its `RunMark`."""

JOB = "job"
"""Of a step: what the steps of one command have in common."""

UNDONE = "undone"
"""Of a step that takes others back: their `RunMark.run`."""

USER = "QPBRIDGE_USER"
"""The environment variable that says who runs it; empty: nobody is noted."""

_BRIEF = re.compile(r"(.+?)(?: \(weights \w+\))? at (\S+ µm/px), .*?(\d{4}-\d\d-\d\d)T")


@dataclass(frozen=True)
class RunMark:
    """One run on one image.

    Parameters
    ----------
    settings
        Stands for all that the result depends on, besides what is drawn in the image.
    run
        Tells this run from every other of the same settings.
    when
        When all was found.
    """

    settings: str
    run: str
    when: datetime.datetime

    def __str__(self) -> str:
        return f"{self.settings} {self.run} {self.when.isoformat(timespec='milliseconds')}"

    @classmethod
    def new(cls, settings: str) -> Self:
        """Mark a run that begins and ends now."""
        return cls(settings, os.urandom(8).hex(), datetime.datetime.now(datetime.UTC))

    @classmethod
    def of(cls, step: WorkflowStep) -> Self | None:
        """Read that of a step; None: it has none."""
        try:
            settings, run, when = step.parameters.get(PARAMETER, "").split()
            found = datetime.datetime.fromisoformat(when)
        except ValueError:
            return None
        # All that are written have a zone; one without could not be compared with them.
        return cls(settings, run, found if found.tzinfo else found.replace(tzinfo=datetime.UTC))

    @classmethod
    def last(cls, steps: Sequence[WorkflowStep], target: str) -> Self | None:
        """Find that of the last run for a target in an image's history."""
        named = (s for s in reversed(steps) if s.name == f"{PREFIX}{target}")
        return cls.of(next(named, WorkflowStep("", "")))

    def is_of(self, settings: str, since: datetime.datetime) -> bool:
        """Whether a run has these settings, and was not done before some time."""
        return self.settings == settings and self.when.timestamp() >= since.timestamp()


@dataclass(frozen=True)
class RunRecord:
    """What the parent annotations and the history say about a run.

    Parameters
    ----------
    target, model, model_version, weights
        What was looked for, and with what: name, version, and checksum of model and weights.
    mpp
        µm per pixel at which the model works.
    when, who
        When it was, and the name of the user.
    command
        What was run.
    settings
        Whatever else the result depends on, as texts by name.
    mark
        By which other runs know it.
    job
        What the runs of one command have in common.
    """

    target: str
    model: str
    model_version: str
    mpp: float
    when: datetime.datetime
    command: str
    mark: RunMark | None = None
    weights: str = ""
    who: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    job: str = ""

    def summary(self) -> str:
        """One line for a person."""
        weights = f" (weights {self.weights})" if self.weights else ""
        settings = "".join(f"{name} {value}, " for name, value in self.settings.items())
        by = f", {self.who}" if self.who else ""
        run = "" if self.mark is None else f", run {self.mark.run}"
        return (
            f"{self.model} {self.model_version}{weights} at {self.mpp:g} µm/px, {settings}"
            f"qpbridge {__version__}, {self.when.isoformat(timespec='seconds')}{by}{run}"
        )

    def parameters(self) -> dict[str, str]:
        """All settings as texts by name, as QuPath shows them in the history."""
        given = {
            "model": f"{self.model} {self.model_version}",
            "weights": self.weights,
            "pixel size": f"{self.mpp:g} µm",
            **self.settings,
        }
        return {name: value for name, value in given.items() if value}

    def step(self) -> WorkflowStep:
        """Describe the run as a line of QuPath's history; its script is a comment."""
        return step_of(
            self.target, self.command, self.parameters(), self.mark, self.when, self.who, self.job
        )


def step_of(
    what: str,
    command: str,
    parameters: Mapping[str, str] = MappingProxyType({}),
    mark: RunMark | None = None,
    when: datetime.datetime | None = None,
    who: str | None = None,
    job: str = "",
) -> WorkflowStep:
    """Describe what qpbridge does to an image as a line of QuPath's history.

    Parameters
    ----------
    what
        In a word or two.
    command
        What was run; the step's script is this, as a comment.
    parameters
        What else is to be known, as texts by name.
    mark, job
        By which others know it.
    when, who
        None: now, and the present user.
    """
    when = when or datetime.datetime.now(datetime.UTC)
    who = user() if who is None else who
    told = {
        "qpbridge version": __version__,
        **parameters,
        "who": who,
        "when": when.isoformat(timespec="seconds"),
        PARAMETER: "" if mark is None else str(mark),
        JOB: job,
    }
    return WorkflowStep(
        f"{PREFIX}{what}", as_comment(command), {name: text for name, text in told.items() if text}
    )


def as_comment(command: str) -> str:
    """Turn a command line into a script that does nothing, whatever characters are in it."""
    return "// " + " ".join(command.splitlines())


def provenance_key(target: str) -> str:
    """Return the metadata key on a parent annotation under which a run is recorded."""
    return f"qpbridge {target}"


def run_of(summary: str) -> str:
    """Read from what is noted on a region which run that was (`RunMark.run`); "": none."""
    return summary.rpartition(", run ")[2] if ", run " in summary else ""


def brief(summary: str) -> str:
    """Shorten what is noted on a region to model, pixel size and day, for tables."""
    found = _BRIEF.match(summary)
    return summary if found is None else "{} at {}, {}".format(*found.groups())


def new_job() -> str:
    """Make up what the runs of one command have in common."""
    return os.urandom(4).hex()


def user() -> str:
    """Return the name of whoever runs this, as far as it is known."""
    try:
        return os.environ[USER] if USER in os.environ else getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def standing(steps: Sequence[WorkflowStep]) -> tuple[WorkflowStep, ...]:
    """Return the steps of qpbridge in a history that were not taken back, oldest first."""
    ours = [step for step in steps if step.name.startswith(PREFIX)]
    undone = {run for step in ours for run in step.parameters.get(UNDONE, "").split()}
    marks = [RunMark.of(step) for step in ours]
    return tuple(
        step
        for step, mark in zip(ours, marks, strict=True)
        if not (mark and mark.run in undone) and UNDONE not in step.parameters
    )
