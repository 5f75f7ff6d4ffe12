"""The language for pygments: what terminals and pages colour texts of comprehensions by.

In: a text, well formed or not.  Out: tokens.
Invariant: the tokens put together are the text, whatever it is.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import Comment, Keyword, Name, Number, Operator, Punctuation, Text

from comprehension.lang.builtins import BUILTINS
from comprehension.lang.types import ScalarType

_TYPES = ("float", "double", *map(str, ScalarType))


class ComprehensionLexer(RegexLexer):  # type: ignore[misc]  # pygments has no types
    """Keywords, types, builtins, numbers, comments.

    >>> [str(kind) for kind, text in ComprehensionLexer().get_tokens("where 1.5") if text.strip()]
    ['Token.Keyword', 'Token.Literal.Number.Float']
    """

    name = "Tensor comprehensions"
    aliases: ClassVar[list[str]] = ["tc"]
    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (r"#[^\n]*", Comment.Single),
            (r"(def)(\s+)([A-Za-z_]\w*)", bygroups(Keyword, Text, Name.Function)),
            (words(("def", "where", "in", "exists", "min", "max"), prefix=r"\b", suffix=r"\b"), Keyword),
            (words(_TYPES, prefix=r"\b", suffix=r"\b"), Keyword.Type),
            (words(tuple(BUILTINS), prefix=r"\b", suffix=r"\b(?=\s*\()"), Name.Builtin),
            (r"\d+\.\d*(e[+-]?\d+)?|\.\d+(e[+-]?\d+)?|\d+e[+-]?\d+", Number.Float),
            (r"\d+", Number.Integer),
            (r"[A-Za-z_]\w*", Name),
            (r"[-+*/%<>=!&|?:]+", Operator),
            (r"[(){},.]", Punctuation),
            (r"\s+", Text),
        ]
    }
