"""Machine: what the compiler knows of the processor that it compiles for.

In: llvmlite's description of the host and the operating system's of its caches.
Out: a frozen record, part of every cache key and of every request to the compiler process, so that a
kernel's source depends on its request alone.
Invariant: `Machine.from_json(m.to_json()) == m`; every field is positive, whatever could not be found out.
"""

from __future__ import annotations

import functools
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

LINE_BYTES = 64  # of a cache line
NEAR = 4  # elements from lane to lane up to which whole vectors and shuffles beat a gather (16 lanes: some ten vectors)
_CACHE_DEFAULTS = {"l1": 32 << 10, "l2": 1 << 20, "l3": 8 << 20}
# Processors that join the halves of their two 256-bit units, or have one, for a 512-bit multiply-add.
_ONE_WIDE_FMA = frozenset({"znver4", "cannonlake", "icelake-client", "tigerlake", "rocketlake"})
_SYSFS = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True, slots=True)
class Machine:
    """A processor: LLVM's name and features, widest vector, caches in bytes, cores that we may use.

    `fma_units`: multiply-adds on whole vectors that a core starts in one cycle.

    >>> Machine.from_json(host().to_json()) == host()
    True
    """

    cpu: str
    features: str
    vector_bits: int
    vector_registers: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    cores: int
    architecture: str = "x86_64"
    fma_units: int = 2

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Machine:
        return cls(**json.loads(text))

    @property
    def kept_bytes(self) -> int:
        """What may be written before the last cache has lost the beginning: other cores use it, too (decision 8).

        Half of it, and 8 MiB for each core of ours at most: in a virtual machine most of the others are not seen.
        """
        return min(self.l3_bytes // 2, self.cores * (8 << 20))

    def lanes(self, bits: int) -> int:
        """How many elements of `bits` one vector register holds."""
        return max(1, self.vector_bits // bits)


@functools.cache
def host() -> Machine:
    """The machine we run on (found out once a process).

    >>> host().vector_bits >= 64
    True
    """
    import llvmlite.binding as llvm  # 40 ms: only once something is compiled or looked up

    features, cpu = dict(llvm.get_host_cpu_features()), llvm.get_host_cpu_name()
    vector_bits, registers = _vectors(features)
    caches = _caches()
    return Machine(
        cpu=cpu,
        features=",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(features.items())),
        vector_bits=vector_bits,
        vector_registers=registers,
        l1_bytes=caches["l1"],
        l2_bytes=caches["l2"],
        l3_bytes=caches["l3"],
        cores=usable_cores(),
        architecture=platform.machine().lower() or "unknown",
        fma_units=_fma_units(cpu, features, vector_bits),
    )


def usable_cores() -> int:
    """Cores that this process may run on (its affinity, where the system has one)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _vectors(features: Mapping[str, bool]) -> tuple[int, int]:
    """Bits of the widest vector worth using, and how many such registers there are."""
    if features.get("avx512f") and features.get("avx512vl"):
        return 512, 32
    if features.get("avx"):
        return 256, 16
    if features.get("neon") or platform.machine().lower() in ("aarch64", "arm64"):
        return 128, 32
    return 128, 16


def _fma_units(cpu: str, features: Mapping[str, bool], vector_bits: int) -> int:
    """Multiply-adds on whole vectors that a core starts in one cycle.

    A virtual machine may give a server the model number of a desktop processor: matrix tiles, which servers with two
    full units have, show it.
    """
    desktop = cpu in _ONE_WIDE_FMA and not features.get("amx-tile")
    return 1 if vector_bits == 512 and desktop else 2


def _caches() -> dict[str, int]:
    """Bytes of each level's data cache as one core sees it."""
    found = _caches_from_sysfs() or _caches_from_sysctl()
    return {level: found.get(level) or default for level, default in _CACHE_DEFAULTS.items()}


def _caches_from_sysfs() -> dict[str, int]:
    caches: dict[str, int] = {}
    for index in sorted(_SYSFS.glob("index*")):
        try:
            kind = (index / "type").read_text().strip()
            level = (index / "level").read_text().strip()
            size = (index / "size").read_text().strip()
        except OSError:  # containers hide some of these files
            continue
        if kind != "Instruction":
            caches[f"l{level}"] = _bytes_of(size)
    return caches


def _bytes_of(size: str) -> int:
    """sysfs writes "32K" or "8M".

    >>> _bytes_of("32K")
    32768
    """
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1:], 1)
    return int(size.rstrip("KMG") or 0) * scale


def _caches_from_sysctl() -> dict[str, int]:
    if platform.system() != "Darwin":
        return {}
    import subprocess

    names = {"l1": "hw.l1dcachesize", "l2": "hw.l2cachesize", "l3": "hw.l3cachesize"}
    caches: dict[str, int] = {}
    for level, name in names.items():
        answer = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False)
        caches[level] = int(answer.stdout.strip() or 0) if answer.returncode == 0 else 0
    return caches
