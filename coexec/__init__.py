"""Imperative-symbolic co-execution: ordinary Python steps at the speed of a compiled graph.

>>> import coexec
>>> @coexec.coexecute
... def step(x):
...     return (x * 2.0).sum()
"""

from coexec.api import Step, coexecute, explain
from coexec.config import config
from coexec.errors import CoexecError, CompilationFailed, ConfigError, MalformedGraph, NotAStep
from coexec.live_view import watch
from coexec.reports.report import Report
from coexec.session import wait

__all__ = [
    "coexecute",
    "explain",
    "wait",
    "watch",
    "config",
    "Report",
    "Step",
    "CoexecError",
    "CompilationFailed",
    "ConfigError",
    "MalformedGraph",
    "NotAStep",
]
