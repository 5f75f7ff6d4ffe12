"""Settings from the environment, the machine's description, options as data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from comprehension.config import MAX_THREADS, Config
from comprehension.errors import ComprehensionError
from comprehension.machine import Machine, host, usable_cores
from comprehension.options import PRESETS, MappingOptions, options_of


def test_the_environment_sets_every_field() -> None:
    config = Config.from_environment(
        {
            "COMPREHENSION_THREADS": "3",
            "COMPREHENSION_CACHE": "/some/where",
            "COMPREHENSION_CACHE_MB": "2",
            "COMPREHENSION_DUMP": "dump",
            "COMPREHENSION_TIME_LIMIT": "1.5",
            "COMPREHENSION_IN_PROCESS": "1",
        }
    )
    assert (config.threads, config.cache_dir, config.cache_bytes) == (3, Path("/some/where"), 2 << 20)
    assert (config.dump, config.compile_seconds, config.in_process) == (Path("dump"), 1.5, True)


def test_an_empty_environment_gives_the_defaults() -> None:
    config = Config.from_environment({})
    assert (config.threads, config.cache_dir, config.dump, config.in_process) == (usable_cores(), None, None, False)
    assert Config.from_environment({"COMPREHENSION_IN_PROCESS": "0", "COMPREHENSION_THREADS": " "}) == config


def test_threads_are_bounded() -> None:
    assert Config.from_environment({"NUMBA_NUM_THREADS": "100000"}).threads == MAX_THREADS


@pytest.mark.parametrize(
    "name,value",
    [
        ("COMPREHENSION_THREADS", "0"),
        ("COMPREHENSION_THREADS", "two"),
        ("NUMBA_NUM_THREADS", "-1"),
        ("COMPREHENSION_TIME_LIMIT", "nan"),
        ("COMPREHENSION_CACHE_MB", "0"),
        ("COMPREHENSION_CACHE_MB", "inf"),
    ],
)
def test_settings_that_cannot_be_right_are_named(name: str, value: str) -> None:
    with pytest.raises(ComprehensionError, match=f"{name} must be a number, at least .*, not '{value}'"):
        Config.from_environment({name: value})


def test_the_machine_is_described_and_travels() -> None:
    machine = host()
    assert machine is host()
    assert Machine.from_json(machine.to_json()) == machine
    assert machine.l1_bytes <= machine.l2_bytes and machine.vector_registers >= 8 and machine.cores >= 1
    assert machine.lanes(32) * 32 == machine.vector_bits and machine.lanes(10_000) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_options_travel(name: str) -> None:
    options = options_of(name)
    assert MappingOptions.from_json(options.to_json()) == options
    assert options_of(options) is options and options_of(None) == MappingOptions()


def test_the_packages_config_is_the_settings_whatever_was_imported_before() -> None:
    code = (
        "import comprehension as tc; tc.define('def f(float(N) A) -> (B) { B(i) = A(i) }');"
        " import comprehension.config; print(type(tc.config).__name__, type(tc.statistics).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Config", "Statistics"]


@pytest.mark.parametrize(
    "name,value,wanted",
    [
        ("threads", 0, "an int, at least 1, not 0"),
        ("threads", True, "an int, at least 1, not True"),
        ("threads", 1.5, "an int, at least 1, not 1.5"),
        ("cache_dir", 3, "a folder or None, not 3"),
        ("in_process", "no", "True or False, not 'no'"),
        ("compile_seconds", -1, "a number, at least 0, not -1"),
        ("parallel_ns", None, "a number, at least 0, not None"),
    ],
)
def test_settings_that_cannot_be_are_refused_and_change_nothing(name: str, value: object, wanted: str) -> None:
    config = Config()
    before = getattr(config, name)
    with pytest.raises(ComprehensionError, match=f"^config: {name} must be {wanted}$"):
        setattr(config, name, value)
    assert getattr(config, name) == before


def test_folders_may_be_strings() -> None:
    config = Config()
    config.dump = "some/where"  # type: ignore[assignment]
    assert config.dump == Path("some/where")
    config.threads = 100_000
    assert config.threads == MAX_THREADS
