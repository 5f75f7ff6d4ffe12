"""Hypothesis strategies of comprehensions: trees, texts, runnable examples, broken texts, arrays of any strides.

Needs the extra `dev` (Hypothesis).
"""

from comprehension.testing.draft import Regime
from comprehension.testing.examples import Example, examples
from comprehension.testing.grammar import broken_texts, expressions, statements, texts, trees
from comprehension.testing.views import broadcasts, empty_views, views

__all__ = [
    "Example",
    "Regime",
    "broadcasts",
    "broken_texts",
    "empty_views",
    "examples",
    "expressions",
    "statements",
    "texts",
    "trees",
    "views",
]
