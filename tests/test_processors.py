"""How many processors a process may use: by what the machine says, in files made up here."""

from __future__ import annotations

import os

import pytest

from qpbridge.processors import usable_processors

ALL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.fixture
def machine(tmp_path):
    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def test_nothing_bounds_them(machine):
    assert usable_processors({}, machine()) == ALL
    assert usable_processors({"SLURM_CPUS_PER_TASK": "many"}, machine()) == ALL
    assert usable_processors({"SLURM_CPUS_PER_TASK": "999"}, machine()) == ALL


def test_a_job_of_slurm(machine):
    assert usable_processors({"SLURM_CPUS_PER_TASK": "1"}, machine()) == 1


@pytest.fixture
def many(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 64), ("250000 100000", 3), ("100 100000", 1), ("", 64), ("x y", 64)],
)
def test_a_container(machine, quota, expected):
    root = machine(proc__self__cgroup="0::/\n", sys__fs__cgroup__cpu_dot_max=quota)
    assert usable_processors({}, root) == expected


@pytest.mark.usefixtures("many")
def test_a_group_is_bounded_by_those_above_it(machine):
    root = machine(
        proc__self__cgroup="0::/user/job\n",
        sys__fs__cgroup__user__job__cpu_dot_max="max 100000",
        sys__fs__cgroup__user__cpu_dot_max="400000 100000",
    )
    assert usable_processors({}, root) == 4


@pytest.mark.usefixtures("many")
def test_groups_of_the_first_version(machine):
    root = machine(
        proc__self__cgroup="5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n",
        sys__fs__cgroup__cpu__cpu_dot_cfs_quota_us="150000",
        sys__fs__cgroup__cpu__cpu_dot_cfs_period_us="100000",
    )
    assert usable_processors({}, root) == 2
    machine(sys__fs__cgroup__cpu__cpu_dot_cfs_quota_us="-1")
    assert usable_processors({}, root) == 64


@pytest.mark.usefixtures("many")
def test_broken_files_bound_nothing(machine):
    assert usable_processors({}, machine(proc__self__cgroup="nonsense\n")) == 64
