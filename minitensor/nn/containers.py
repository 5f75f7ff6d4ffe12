"""Modules made of modules: Sequential and ModuleList."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from minitensor.nn.module import Module


class ModuleList(Module):
    """A list of modules, registered under "0", "1", ...

    >>> import minitensor as mt
    >>> len(mt.nn.ModuleList([mt.nn.Linear(2, 3), mt.nn.Linear(3, 1)]))
    2
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> None:
        if not isinstance(module, Module):
            raise TypeError(f"a Module is expected, found {type(module).__name__}")
        self.__dict__[str(len(self))] = module

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def __iter__(self) -> Iterator[Module]:
        return (module for _, module in self.children())

    def __getitem__(self, index: int) -> Module:
        modules = list(self)
        if not -len(modules) <= index < len(modules):
            raise IndexError(f"index {index} is out of range for {len(modules)} modules")
        return modules[index]


class Sequential(ModuleList):
    """Calls its modules one after the other.

    >>> import minitensor as mt
    >>> mt.nn.Sequential(mt.nn.Linear(4, 2), mt.nn.ReLU())(mt.ones((3, 4))).shape
    (3, 2)
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x
