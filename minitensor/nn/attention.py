"""Attention as a layer, and the encoder layer built around it.

Invariant: parameters have PyTorch's names, shapes and initial distributions, so that its state loads.
"""

from __future__ import annotations

import copy
import math

from minitensor import functional as F
from minitensor.creation import zeros
from minitensor.elementwise import where
from minitensor.errors import ArgumentError, ShapeError
from minitensor.linear_algebra import matmul
from minitensor.manipulation import expand_dims, permute_dims, reshape
from minitensor.nn.containers import ModuleList
from minitensor.nn.init import xavier_uniform_
from minitensor.nn.layers import Dropout, Linear
from minitensor.nn.module import Module, Parameter
from minitensor.nn.normalisation import LayerNorm
from minitensor.statistics import mean
from minitensor.tensor import Tensor


class MultiheadAttention(Module):
    """Several attentions side by side, joined by a linear layer (Vaswani and others 2017).

    query (L, N, E), key and value (S, N, E); with `batch_first` (N, L, E) and (N, S, E).  Returns the result, shaped
    as the query, and the weights (N, L, S), the mean over the heads, or None without `need_weights`.

    Args:
        embed_dim: E, a multiple of `num_heads`.
        dropout: of the weights, in training.

    >>> import minitensor as mt
    >>> attention = mt.nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = mt.ones((3, 5, 8))
    >>> result, weights = attention(x, x, x)
    >>> result.shape, weights.shape
    ((3, 5, 8), (3, 5, 5))
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, batch_first: bool = False
    ) -> None:
        if num_heads < 1 or embed_dim % num_heads:
            raise ArgumentError(f"embed_dim {embed_dim} must be a multiple of num_heads {num_heads}")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.in_proj_weight = Parameter(xavier_uniform_(zeros((3 * embed_dim, embed_dim))))
        self.in_proj_bias = Parameter(zeros(3 * embed_dim)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if self.out_proj.bias is not None:
            self.out_proj.bias = Parameter(zeros(embed_dim))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """key_padding_mask (N, S), attn_mask (L, S): bool, *true where nobody may look*, as in PyTorch (the opposite of
        `functional.scaled_dot_product_attention`), or numbers that are added; is_causal: query i looks at keys 0 … i.
        """
        is_of_one = query is key is value
        if not self.batch_first:
            query = _batch_to_front(query)
            key, value = (query, query) if is_of_one else (_batch_to_front(x) for x in (key, value))
        for name, x in (("query", query), ("key", key), ("value", value)):
            if x.ndim != 3 or x.shape[-1] != self.embed_dim:
                raise ShapeError(f"MultiheadAttention takes {name} with three dimensions, the last of {self.embed_dim}")
        if is_of_one:
            q, k, v = self._heads_of_one(query)
        else:
            q, k, v = (self._heads(x, part) for part, x in enumerate((query, key, value)))
        mask = _joined(attn_mask, key_padding_mask)
        if not need_weights and not (self.dropout and self.training):
            mixed, weights = F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal), None
        else:
            if is_causal:
                past = F.causal_mask(q.shape[-2], k.shape[-2])
                mask = past if mask is None else where(past, mask, -math.inf)
            scores = matmul(q, k.mT) * (1.0 / math.sqrt(q.shape[-1]))
            if mask is not None:
                scores = where(mask, scores, -math.inf) if mask.dtype.kind == "b" else scores + mask
            weights = F.dropout(F.softmax(scores, -1), self.dropout, self.training)
            mixed = matmul(weights, v)
        n, length = query.shape[:2]
        result = self.out_proj(reshape(permute_dims(mixed, (0, 2, 1, 3)), (n, length, self.embed_dim)))
        averaged = mean(weights, axis=1) if need_weights and weights is not None else None
        return result if self.batch_first else _batch_to_front(result), averaged

    def _heads(self, x: Tensor, part: int) -> Tensor:
        """(N, L, E) to (N, heads, L, E / heads), by one third of the joined weight."""
        rows = slice(part * self.embed_dim, (part + 1) * self.embed_dim)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        n, length, _ = x.shape
        apart = reshape(F.linear(x, self.in_proj_weight[rows], bias), (n, length, self.num_heads, -1))
        return permute_dims(apart, (0, 2, 1, 3))

    def _heads_of_one(self, x: Tensor) -> list[Tensor]:
        """All three of one tensor, by one product."""
        n, length, _ = x.shape
        joined = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        apart = permute_dims(reshape(joined, (n, length, 3, self.num_heads, -1)), (2, 0, 3, 1, 4))
        return [apart[part] for part in range(3)]

    def extra_repr(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}"


def _batch_to_front(x: Tensor) -> Tensor:
    """(L, N, E) to (N, L, E), and back."""
    return permute_dims(x, (1, 0, 2))


def _joined(attn_mask: Tensor | None, key_padding_mask: Tensor | None) -> Tensor | None:
    """Both masks as numbers to add to scores (N, heads, L, S)."""
    added = None
    if attn_mask is not None:
        added = _as_numbers(attn_mask if attn_mask.ndim == 2 else expand_dims(attn_mask, 1))
    if key_padding_mask is not None:
        padding = _as_numbers(expand_dims(expand_dims(key_padding_mask, 1), 1))
        added = padding if added is None else added + padding
    return added


def _as_numbers(mask: Tensor) -> Tensor:
    """0 where a bool mask is false, −∞ where it is true; other masks as they are."""
    return where(mask, -math.inf, 0.0 * mask) if mask.dtype.kind == "b" else mask


class TransformerEncoderLayer(Module):
    """Attention and two linear layers, each with dropout, a shortcut and layer norm (Vaswani and others 2017).

    x (L, N, E), with `batch_first` (N, L, E).  Masks as in `MultiheadAttention`.

    Args:
        d_model: E.
        activation: "relu" or "gelu".
        norm_first: norms stand before attention and linear layers, not behind the shortcuts.

    >>> import minitensor as mt
    >>> mt.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)(mt.ones((3, 5, 8))).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
    ) -> None:
        if activation not in ("relu", "gelu"):
            raise ArgumentError(f"activation is 'relu' or 'gelu', not {activation!r}")
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first)
        self.linear1, self.linear2 = Linear(d_model, dim_feedforward), Linear(dim_feedforward, d_model)
        self.norm1, self.norm2 = LayerNorm(d_model, layer_norm_eps), LayerNorm(d_model, layer_norm_eps)
        self.dropout, self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout), Dropout(dropout)
        self.activation, self.norm_first = activation, norm_first

    def forward(
        self,
        x: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        def attend(y: Tensor) -> Tensor:
            attended, _ = self.self_attn(y, y, y, src_key_padding_mask, False, src_mask, is_causal)
            dropped: Tensor = self.dropout1(attended)
            return dropped

        if self.norm_first:
            x = x + attend(self.norm1(x))
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(x + attend(x))
        result: Tensor = self.norm2(x + self._feed_forward(x))
        return result

    def _feed_forward(self, x: Tensor) -> Tensor:
        bend = F.relu if self.activation == "relu" else F.gelu
        result: Tensor = self.dropout2(self.linear2(self.dropout(bend(self.linear1(x)))))
        return result


class TransformerEncoder(Module):
    """Layers like the one given, each with parameters of its own that begin as its copies, then `norm` if there is one.

    >>> import minitensor as mt
    >>> layer = mt.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> mt.nn.TransformerEncoder(layer, 3, norm=mt.nn.LayerNorm(8))(mt.ones((3, 5, 8))).shape
    (3, 5, 8)
    """

    def __init__(self, encoder_layer: TransformerEncoderLayer, num_layers: int, norm: Module | None = None) -> None:
        if num_layers < 1:
            raise ArgumentError(f"num_layers must be at least 1, is {num_layers}")
        self.layers = ModuleList([copy.deepcopy(encoder_layer) for _ in range(num_layers)])
        self.norm = norm

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, is_causal)
        return x if self.norm is None else self.norm(x)
