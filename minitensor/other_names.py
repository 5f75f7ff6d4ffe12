"""Names that NumPy and PyTorch have and this library has not, and what to write instead.

In: the name that somebody asked for.  Out: the AttributeError to raise, with the advice in it.
Invariant: advice is looked up only where an attribute is missing, and what it names is there (a test looks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BOTH = {  # functions there, and methods of arrays
    "cat": "use mt.concat(tensors, axis=axis)",
    "chunk": "use mt.split(x, size, axis=axis)",
    "unsqueeze": "use mt.expand_dims(x, axis=axis)",
    "ravel": "use x.flatten()",
    "gather": "use mt.take_along_axis(x, indices, axis=axis)",
    "index_select": "use mt.take(x, indices, axis=axis)",
    "norm": "use mt.linalg.norm(x)",
    "relu": "use F.relu(x), F being mt.functional",
    "sigmoid": "use F.sigmoid(x), F being mt.functional",
    "softmax": "use F.softmax(x, axis), F being mt.functional",
    "log_softmax": "use F.log_softmax(x, axis), F being mt.functional",
    "cuda": "there is one device, the CPU",
}

NAMESPACE = {
    **_BOTH,
    "tensor": "use mt.asarray(data)",
    "array": "use mt.asarray(data)",
    "from_numpy": "use mt.asarray(array, copy=False)",
    "as_tensor": "use mt.asarray(data)",
    "is_tensor": "use isinstance(x, mt.Tensor)",
    "device": "use a name, device='cpu'; there is one device",
    "rand": "use mt.random.uniform(shape)",
    "randn": "use mt.random.normal(shape)",
    "randint": "use mt.random.randint(low, high, shape)",
    "randperm": "use mt.random.permutation(n)",
    "bernoulli": "use mt.random.bernoulli(p)",
    "multinomial": "use mt.random.categorical(logits, shape)",
    "manual_seed": "use mt.random.seed(n)",
    "concatenate": "use mt.concat(tensors, axis=axis)",
    "vstack": "use mt.concat(tensors, axis=0)",
    "hstack": "use mt.concat(tensors, axis=1)",
    "transpose": "use mt.permute_dims(x, axes), x.T or x.mT",
    "swapaxes": "use mt.permute_dims(x, axes) or x.mT",
    "permute": "use mt.permute_dims(x, axes)",
    "flatten": "use x.flatten()",
    "clamp": "use mt.clip(x, low, high)",
    "cumsum": "use mt.cumulative_sum(x, axis=axis)",
    "cumprod": "use mt.cumulative_prod(x, axis=axis)",
    "absolute": "use mt.abs(x)",
    "arcsin": "use mt.asin(x)",
    "arccos": "use mt.acos(x)",
    "arctan": "use mt.atan(x)",
    "arctan2": "use mt.atan2(x1, x2)",
    "power": "use mt.pow(x1, x2)",
    "rsqrt": "use 1 / mt.sqrt(x)",
    "amax": "use mt.max(x, axis=axis)",
    "amin": "use mt.min(x, axis=axis)",
    "unique": "use mt.unique_values(x), mt.unique_counts(x) or mt.unique_inverse(x)",
    "argwhere": "use mt.stack(mt.nonzero(x), axis=-1)",
    "bincount": "use mt.unique_counts(x), or F.one_hot(x, n).sum(0)",
    "masked_select": "use x[mask]",
    "dot": "use mt.vecdot(x1, x2) or x1 @ x2",
    "mm": "use x1 @ x2",
    "bmm": "use x1 @ x2",
    "mv": "use x1 @ x2",
    "trace": "use mt.linalg.trace(x)",
    "inv": "use mt.linalg.inv(x)",
    "diag": "use mt.linalg.diagonal(x), or mt.eye(n) * v for a matrix with v on its diagonal",
    "diagonal": "use mt.linalg.diagonal(x)",
    "logsumexp": "use F.logsumexp(x, axis), F being mt.functional",
    "nan_to_num": "use mt.where(mt.isnan(x), 0, x)",
    "save": "use mt.io.save(state_dict, path)",
    "load": "use mt.io.load(path)",
    "set_grad_enabled": "use mt.no_grad() or mt.enable_grad()",
    "inference_mode": "use mt.no_grad()",
    "float": "use mt.float32",
    "double": "use mt.float64",
    "half": "use mt.float16",
    "long": "use mt.int64",
    "int": "use mt.int64 or mt.int32",
    "bfloat16": "tensors have none; mt.float16 is half as long as mt.float32",
}

TENSOR = {
    **_BOTH,
    "view": "use x.reshape(...)",
    "clone": "nothing needs it, tensors are values; x.detach() is a snapshot",
    "copy": "nothing needs it, tensors are values; x.detach() is a snapshot",
    "contiguous": "nothing needs it, memory is the library's business",
    "to": "use x.astype(dtype); there is one device",
    "cpu": "nothing needs it, there is one device",
    "is_cuda": "there is one device, the CPU",
    "type": "use x.astype(dtype)",
    "float": "use x.astype('float32')",
    "double": "use x.astype('float64')",
    "half": "use x.astype('float16')",
    "long": "use x.astype('int64')",
    "int": "use x.astype('int32')",
    "bool": "use x.astype('bool')",
    "numel": "use x.size",
    "dim": "use x.ndim",
    "swapaxes": "use x.permute(axes) or x.mT",
    "masked_fill": "use mt.where(mask, value, x)",
    "expand": "use mt.broadcast_to(x, shape)",
    "repeat": "use mt.tile(x, repetitions), or mt.repeat(x, n) for each element",
    "repeat_interleave": "use mt.repeat(x, n, axis=axis)",
    "unbind": "use mt.unstack(x, axis=axis)",
    "split": "use mt.split(x, size, axis=axis)",
    "dot": "use x @ y",
    "mm": "use x @ y",
    "add": "use x + y",
    "sub": "use x - y",
    "mul": "use x * y",
    "div": "use x / y",
    "pow": "use x ** y",
    "clamp": "use x.clip(low, high)",
    "cumsum": "use x.cumulative_sum(axis)",
    "round": "use mt.round(x)",
    "sin": "use mt.sin(x)",
    "cos": "use mt.cos(x)",
    "nonzero": "use mt.nonzero(x)",
    "unique": "use mt.unique_values(x)",
    "isnan": "use mt.isnan(x)",
    "add_": "write x += y",
    "sub_": "write x -= y",
    "mul_": "write x *= y",
    "div_": "write x /= y",
    "zero_": "write x[...] = 0",
    "fill_": "write x[...] = value",
    "clamp_": "write x[...] = x.clip(low, high)",
    "requires_grad_": "set x.requires_grad = True",
    "detach_": "use x.detach()",
    "retain_grad": "only leaves keep .grad; mt.grad(f)(x) gives that of any argument",
    "register_hook": "mt.grad(f)(x) gives the gradient with respect to any argument",
}

FUNCTIONAL = {
    "tanh": "use mt.tanh(x)",
    "pad": "use mt.pad(x, ((before, after), ...))",
    "logit": "use mt.log(p) - mt.log1p(-p)",
    "softmin": "use F.softmax(-x, axis)",
    "upsample": "use F.interpolate(x, size)",
    "conv_transpose3d": "there is F.conv_transpose2d",
}

LINALG = {
    "lstsq": "use mt.linalg.pinv(a) @ b",
    "eig": "use mt.linalg.eigh(x) for symmetric matrices; there is none for others",
    "eigvals": "use mt.linalg.eigvalsh(x) for symmetric matrices; there is none for others",
    "multi_dot": "use mt.einsum(equation, *tensors)",
}

RANDOM = {
    "rand": "use mt.random.uniform(shape)",
    "randn": "use mt.random.normal(shape)",
    "standard_normal": "use mt.random.normal(shape)",
    "choice": "use mt.random.randint(0, n, shape), or mt.random.permutation(n)[:k] without repetition",
    "shuffle": "use x[mt.random.permutation(len(x))]",
    "default_rng": "use mt.random.seed(n)",
}

NN = {
    "utils": "use nn.clip_grad_norm_ and nn.clip_grad_value_",
    "functional": "use mt.functional",
    "Hardshrink": "use mt.where(mt.abs(x) > bound, x, 0)",
    "Transformer": "use nn.TransformerEncoder and a decoder of nn.MultiheadAttention",
    "DataParallel": "there is one device, the CPU",
}

MODULE = {
    "cuda": "there is one device, the CPU",
    "cpu": "nothing needs it, there is one device",
    "float": "use module.to('float32')",
    "double": "use module.to('float64')",
    "half": "use module.to('float16')",
    "add_module": "write module.name = submodule",
    "register_parameter": "write module.name = nn.Parameter(data)",
}

OPTIM = {
    "LBFGS": "there is none; optim.Adam needs no line search",
    "NAdam": "use optim.Adam",
    "RAdam": "use optim.AdamW with lr_scheduler.LinearLR for a warm-up",
    "Adadelta": "use optim.Adagrad or optim.RMSprop",
}


def missing(owner: str, name: str, advice: Mapping[str, str], obj: Any = None) -> AttributeError:
    """The error for an attribute that is not there; `owner` as Python's own message names it.

    >>> print(missing("module 'minitensor'", "cat", NAMESPACE))
    module 'minitensor' has no attribute 'cat': use mt.concat(tensors, axis=axis)
    """
    known = advice.get(name)
    text = f"{owner} has no attribute {name!r}"
    return AttributeError(f"{text}: {known}" if known else text, name=name, obj=obj)
