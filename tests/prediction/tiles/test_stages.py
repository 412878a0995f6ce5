from __future__ import annotations

import threading

import pytest

from qpbridge.prediction.tiles import stages as module
from qpbridge.prediction.tiles.stages import Stages


@pytest.fixture
def clock(monkeypatch):
    now = threading.local()
    monkeypatch.setattr(module.time, "perf_counter", lambda: getattr(now, "time", 0.0))

    def wait(seconds):
        now.time = getattr(now, "time", 0.0) + seconds

    return wait


def test_inner_stages_do_not_count_for_outer_ones(clock):
    stages = Stages()
    with stages("write"):
        clock(1)
        with stages("merge"):
            clock(10)
            with stages("read"):
                clock(100)
        with stages("merge"):
            clock(20)
        clock(2)
    with stages("read"):
        clock(0.5)
    assert stages.busy == {"write": 3, "merge": 30, "read": 100.5}
    assert stages.bottleneck == "read"


def test_threads_add_up_and_failures_count(clock):
    stages = Stages()

    def work():
        with pytest.raises(OSError), stages("read"):
            clock(4)
            raise OSError

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stages.busy == {"read": 12}


def test_nothing_has_no_bottleneck():
    assert Stages().bottleneck == ""
