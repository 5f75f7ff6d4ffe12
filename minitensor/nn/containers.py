"""Modules made of modules: Sequential, ModuleList and ModuleDict; and parameters in a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from minitensor.errors import ArgumentError, DTypeError, MissingNameError, TensorIndexError
from minitensor.nn.module import Module, Parameter


def _told(found: object) -> str:
    """What was given in a module's place, and what to do about it."""
    advice = "; nn has functions as modules, such as nn.ReLU()" if callable(found) else ""
    several = "; Sequential takes them one by one: Sequential(*modules)" if isinstance(found, list | tuple) else ""
    return f"{type(found).__name__}{advice}{several}"


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
            raise DTypeError(f"a Module is expected, found {_told(module)}")
        self.__dict__[str(len(self))] = module

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int) -> Module:
        modules = list(self)
        if not -len(modules) <= index < len(modules):
            raise TensorIndexError(f"index {index} is out of range for {len(modules)} modules")
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


class ModuleDict(Module):
    """Modules by name, registered under it.

    >>> import minitensor as mt
    >>> heads = mt.nn.ModuleDict({"kind": mt.nn.Linear(4, 3), "place": mt.nn.Linear(4, 2)})
    >>> list(heads), heads["place"](mt.ones(4)).shape
    (['kind', 'place'], (2,))
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        for name, module in (modules or {}).items():
            self[name] = module

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(module, Module):
            raise DTypeError(f"a Module is expected, found {type(module).__name__}")
        if not name or "." in name or hasattr(type(self), name):
            raise ArgumentError(
                f"{name!r} cannot name a module: it is empty, has a dot, or is an attribute of ModuleDict"
            )
        self.__dict__[name] = module

    def __getitem__(self, name: str) -> Module:
        for known, module in self.named_children():
            if known == name:
                return module
        raise MissingNameError(f"no module {name!r}; there are {list(self)}")

    def __contains__(self, name: object) -> bool:
        return name in list(self)

    def __len__(self) -> int:
        return sum(1 for _ in self.named_children())

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.named_children())

    def items(self) -> Iterator[tuple[str, Module]]:
        return self.named_children()

    def values(self) -> Iterator[Module]:
        return self.children()


class ParameterList(Module):
    """A list of parameters, registered under "0", "1", ...

    >>> import minitensor as mt
    >>> [p.shape for p in mt.nn.ParameterList([mt.nn.Parameter(mt.ones(2)), mt.nn.Parameter(mt.ones(3))])]
    [(2,), (3,)]
    """

    def __init__(self, parameters: Iterable[Parameter] = ()) -> None:
        for parameter in parameters:
            self.append(parameter)

    def append(self, parameter: Parameter) -> None:
        if not isinstance(parameter, Parameter):
            raise DTypeError(f"a Parameter is expected, found {type(parameter).__name__}")
        self.__dict__[str(len(self))] = parameter

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Parameter]:
        return (value for value in self.__dict__.values() if isinstance(value, Parameter))

    def __getitem__(self, index: int) -> Parameter:
        parameters = list(self)
        if not -len(parameters) <= index < len(parameters):
            raise TensorIndexError(f"index {index} is out of range for {len(parameters)} parameters")
        return parameters[index]
