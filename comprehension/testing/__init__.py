"""Hypothesis strategies of comprehensions: trees, texts, runnable examples, broken texts.

Needs the extra `dev` (Hypothesis).
"""

from comprehension.testing.examples import Example, Regime, examples
from comprehension.testing.grammar import broken_texts, expressions, statements, texts, trees

__all__ = ["Example", "Regime", "broken_texts", "examples", "expressions", "statements", "texts", "trees"]
