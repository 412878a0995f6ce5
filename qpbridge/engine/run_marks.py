"""What a run leaves in an image's history, by which other runs know it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from qpbridge.project.interface import WorkflowStep

PARAMETER = "run"
"""Of the step in the history."""


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
    def last(cls, steps: Sequence[WorkflowStep], target: str) -> Self | None:
        """Find that of the last run for a target in an image's history."""
        name = f"qpbridge: {target}"
        texts = (s.parameters.get(PARAMETER, "") for s in reversed(steps) if s.name == name)
        try:
            settings, run, when = next(texts, "").split()
            return cls(settings, run, datetime.datetime.fromisoformat(when))
        except ValueError:
            return None

    def is_of(self, settings: str, since: datetime.datetime) -> bool:
        """Whether a run has these settings, and was not done before some time."""
        return self.settings == settings and self.when.timestamp() >= since.timestamp()
