"""Module: a tree of parameters, buffers and submodules, found by looking at attributes.

In: attributes as ordinary Python sets them.  Out: their names and values, in order of assignment.
Invariant: there is no second registry: a Parameter or Module is registered because it is an attribute, and a
buffer because its name was given to `register_buffer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from minitensor import other_names
from minitensor.autograd import no_grad
from minitensor.creation import asarray
from minitensor.dispatch import rebind
from minitensor.dtypes import as_dtype
from minitensor.errors import ArgumentError, DTypeError, MissingNameError
from minitensor.manipulation import astype
from minitensor.tensor import Tensor

Self = TypeVar("Self", bound="Module")
ForwardHook = Callable[[Any, tuple[Any, ...], Any], Any]


class Parameter(Tensor):
    """A Tensor that requires grad and that a Module finds; keeps the dtype of `data`.

    >>> Parameter([1.0, 2.0]).requires_grad
    True
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(asarray(data).value)
        self.requires_grad = requires_grad


class HookHandle:
    """What `register_forward_hook` gives: `remove()` takes the hook away."""

    __slots__ = ("_module",)

    def __init__(self, module: Module) -> None:
        self._module = module

    def remove(self) -> None:
        self._module.__dict__.get("_forward_hooks", {}).pop(self, None)


class Module:
    """Base of layers and networks; subclasses write `forward`.

    `forward` is looked up on the instance, so it may be replaced there.
    """

    training: bool = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        hooks = self.__dict__.get("_forward_hooks")
        if not hooks:
            return self.forward(*args, **kwargs)
        result = self.forward(*args, **kwargs)
        for hook in list(hooks.values()):
            replaced = hook(self, args, result)
            result = result if replaced is None else replaced
        return result

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define forward()")

    def register_buffer(self, name: str, tensor: Tensor | None) -> None:
        """Makes attribute `name` a buffer: a tensor that is state, but no parameter."""
        if not name.isidentifier():
            raise ArgumentError(f"a buffer's name must be an identifier, is {name!r}")
        self.__dict__.setdefault("_buffer_names", {})[name] = None
        setattr(self, name, tensor)

    def register_forward_hook(self, hook: ForwardHook) -> HookHandle:
        """Calls `hook(module, args, result)` after each `forward`; what it returns, unless None, is the result.

        >>> import minitensor as mt
        >>> seen, layer = [], mt.nn.Linear(2, 3)
        >>> handle = layer.register_forward_hook(lambda module, args, result: seen.append(result.shape))
        >>> result = layer(mt.ones((4, 2)))
        >>> handle.remove()
        >>> seen
        [(4, 3)]
        """
        handle = HookHandle(self)
        self.__dict__.setdefault("_forward_hooks", {})[handle] = hook
        return handle

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, submodule) of the direct submodules."""
        for name, value in self.__dict__.items():
            if isinstance(value, Module):
                yield name, value

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        for _, module in self.named_children():
            yield module

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module), this one first (name ""), each module once."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield name, module
            below = [(f"{name}.{child}" if name else child, m) for child, m in module.named_children()]
            stack.extend(reversed(below))

    def modules(self) -> Iterator[Module]:
        """This module and all below, each once."""
        for _, module in self.named_modules():
            yield module

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), in order of assignment, each parameter once; `prefix` stands before each name."""
        seen: set[int] = set()
        for name, value in self._named_tensors(prefix):
            if isinstance(value, Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield name, value

    def parameters(self) -> Iterator[Parameter]:
        for _, parameter in self.named_parameters():
            yield parameter

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in self._named_tensors():
            if not isinstance(value, Parameter):
                yield name, value

    def buffers(self) -> Iterator[Tensor]:
        for _, buffer in self.named_buffers():
            yield buffer

    def apply(self: Self, function: Callable[[Module], object]) -> Self:
        """Calls `function` with every module, this one last; returns this module.  For initial values, say.

        >>> import minitensor as mt
        >>> def start(module):
        ...     if isinstance(module, mt.nn.Linear):
        ...         mt.nn.init.zeros_(module.weight)
        >>> net = mt.nn.Sequential(mt.nn.Linear(2, 2), mt.nn.ReLU()).apply(start)
        >>> float(abs(net[0].weight).max())
        0.0
        """
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Freezes (False) or thaws all parameters here and below; returns this module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def to(self: Self, dtype: Any) -> Self:
        """Takes floating-point parameters, their gradients and buffers to a floating-point dtype, in place.

        There is one device, so `to` takes a dtype only.  Returns this module.

        >>> import minitensor as mt
        >>> mt.nn.Linear(2, 2).to("float64")(mt.ones(2, dtype="float64")).dtype
        dtype('float64')
        """
        wanted = as_dtype(dtype)
        if wanted.kind != "f":
            raise DTypeError(f"a module is taken to a floating-point dtype, not to {wanted}")
        with no_grad():
            for _, tensor in self._named_tensors():
                if tensor.dtype.kind == "f" and tensor.dtype != wanted:
                    gradient = tensor.grad
                    rebind(tensor, astype(tensor, wanted).value)
                    tensor.grad = None if gradient is None else astype(gradient, wanted)
        return self

    def train(self: Self, mode: bool = True) -> Self:
        """Sets `.training` here and below; returns this module."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self: Self) -> Self:
        return self.train(False)

    def zero_grad(self) -> None:
        for parameter in self.parameters():
            parameter.grad = None

    def state_dict(self) -> dict[str, Tensor]:
        """Dotted name → snapshot of every parameter and buffer."""
        return {name: value.detach() for name, value in self._named_tensors()}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> None:
        """Gives parameters and buffers the values of `state_dict`, in place.

        Raises:
            KeyError: with `strict`, for names missing or left over; nothing is loaded then.
            ValueError: for a value of another shape; nothing is loaded then.
        """
        own = dict(self._named_tensors())
        missing, extra = sorted(own.keys() - state_dict.keys()), sorted(state_dict.keys() - own.keys())
        if strict and (missing or extra):
            raise MissingNameError(f"state_dict does not fit: missing {missing}, unexpected {extra}")
        new = {name: asarray(state_dict[name], dtype=own[name].dtype) for name in own if name in state_dict}
        for name, value in new.items():
            if value.shape != own[name].shape:
                raise ArgumentError(f"{name} has shape {own[name].shape}, the state_dict has {value.shape}")
        with no_grad():
            for name, value in new.items():
                own[name][...] = value

    def __repr__(self) -> str:
        lines = [f"  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        body = "\n" + "\n".join(lines) + "\n" if lines else ""
        return f"{type(self).__name__}({self.extra_repr()}{body})"

    if not TYPE_CHECKING:  # a type checker takes any attribute then

        def __getattr__(self, name: str) -> Any:
            raise other_names.missing(f"{type(self).__name__!r} object", name, other_names.MODULE, self)

    def extra_repr(self) -> str:
        """What stands between the parentheses of the repr; subclasses name their sizes."""
        return ""

    def _named_tensors(self, start: str = "") -> Iterator[tuple[str, Tensor]]:
        for prefix, module in self.named_modules(start):
            buffers = module.__dict__.get("_buffer_names", ())
            for name, value in module.__dict__.items():
                if isinstance(value, Parameter) or (name in buffers and value is not None):
                    yield f"{prefix}.{name}" if prefix else name, value
