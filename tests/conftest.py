"""What every test can use."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# A machine that is busy with something else is no error.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    parser.addoption(
        "--with-qupath",
        action="store_true",
        help="let all tests go through a QuPath that is found, not only those marked qupath",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def same_backend_everywhere(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let a QuPath on this machine change nothing for tests that are not about it."""
    if "qupath" not in request.keywords and not request.config.getoption("--with-qupath"):
        monkeypatch.setattr("qpbridge.project.find_qupath", lambda: None)


@pytest.fixture(autouse=True)
def nobody_trusts_anything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the list of trusted models of whoever runs the tests out of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CONFIG_HOME", "APPDATA", "HOME"):
            if name != "HOME" or sys.platform == "darwin":
                patch.setenv(name, str(tmp_path_factory.mktemp("configuration")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference files beside the checkout, where there is one."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no reference files: the folder 'shared' is not beside the checkout")
    return folder
