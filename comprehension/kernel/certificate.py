"""The certificate as a record: what was proved of a kernel, readable without isl.

In: made by `poly.certificate.certify` in the compiler process.  Out: JSON beside the object file, rebuilt by the
program.
Invariant: `Certificate.from_json(c.to_json()) == c`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was proved of one kernel.  True exactly if every property holds.

    `properties`: name -> holds.  `guards`: bounds that a check at launch secures.  `counterexamples`: for
    each violation what is wrong, and a point or a pair of points where, in isl's notation.
    """

    properties: dict[str, bool]
    guards: tuple[str, ...] = ()
    counterexamples: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return all(self.properties.values())

    @property
    def text(self) -> str:
        """One line a property, then guards and counterexamples."""
        width = max(map(len, self.properties), default=0)
        lines = [f"{name:<{width}}  {'proved' if holds else 'NOT PROVED'}" for name, holds in self.properties.items()]
        lines += [f"guarded: {guard}" for guard in self.guards]
        lines += [f"counterexample: {example}" for example in self.counterexamples]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> str:
        return json.dumps(asdict(self))  # properties keep the order in which they are proved

    @classmethod
    def from_json(cls, text: str) -> Certificate:
        """
        >>> Certificate.from_json(Certificate({"bounds": True}, ("a check",)).to_json())
        Certificate(properties={'bounds': True}, guards=('a check',), counterexamples=())
        """
        raw = json.loads(text)
        return cls(
            {str(name): bool(holds) for name, holds in raw["properties"].items()},
            tuple(map(str, raw["guards"])),
            tuple(map(str, raw["counterexamples"])),
        )


def joined(certificates: Sequence[Certificate]) -> Certificate:
    """What was proved of several versions of a kernel: a property holds if it holds of each.

    >>> joined([Certificate({"bounds": True}, ("a check",)), Certificate({"bounds": False})]).properties
    {'bounds': False}
    """
    names = dict.fromkeys(name for each in certificates for name in each.properties)
    return Certificate(
        {name: all(each.properties.get(name, True) for each in certificates) for name in names},
        tuple(dict.fromkeys(guard for each in certificates for guard in each.guards)),
        tuple(dict.fromkeys(example for each in certificates for example in each.counterexamples)),
    )
