"""Names for what a transformation of KernelIR adds.

In: a kernel.  Out: names that nothing in it has.
"""

from __future__ import annotations

from dataclasses import dataclass

from comprehension.kernel import ir
from comprehension.kernel.rewrite import nodes_of


@dataclass(slots=True)
class Names:
    """Hands out names; each once."""

    taken: set[str]

    @classmethod
    def of(cls, kernel: ir.Kernel) -> Names:
        variables = {node.variable for node in nodes_of(kernel.stages, ir.Loop)}
        variables |= {node.variable for node in nodes_of(kernel.stages, ir.Axis)}
        variables |= {node.name for node in nodes_of(kernel.stages, ir.Define)}
        buffers = {buffer.name for buffer in kernel.buffers}
        return cls(variables | buffers | set(kernel.sizes) | {name for name, _ in kernel.scalars})

    def fresh(self, wish: str) -> str:
        """A name like `wish` that nothing else has.

        >>> names = Names({"i"})
        >>> names.fresh("i"), names.fresh("i"), names.fresh("j")
        ('i1', 'i2', 'j')
        """
        name, count = wish, 0
        while name in self.taken:
            count += 1
            name = f"{wish}{count}"
        self.taken.add(name)
        return name
