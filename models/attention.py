"""Multi-head attention, which OneFlow 0.9.0 lacks, and the transformer layer built on it."""

from __future__ import annotations

import math

import oneflow as torch
from oneflow import nn
from oneflow.nn import functional as F

from models.limits import reserve
from models.ops import Linear


class MultiheadAttention(nn.Module):
    """Scaled dot-product attention in parallel heads (Vaswani et al., https://arxiv.org/abs/1706.03762).

    The state is laid out as PyTorch's layer of that name has it, so its weights load as they are.

    Args:
        embed_dim: channels of the queries, keys, values and of the result.
        num_heads: heads; they share the channels out evenly.

    Raises:
        ValueError: `num_heads` does not divide `embed_dim`.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f'{num_heads} heads do not share {embed_dim} channels evenly')
        self.num_heads = num_heads
        reserve(3 * embed_dim, embed_dim + 1)
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * embed_dim, embed_dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim))
        self.out_proj = Linear(embed_dim, embed_dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """(length, batch, channels) each -> (length of the queries, batch, channels)."""
        length, batch, channels = query.shape
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (self._heads(F.linear(x, w, b)) for x, w, b in zip((query, key, value), weights, biases))
        scores = torch.matmul(q / math.sqrt(channels // self.num_heads), k.transpose(1, 2))
        joined = torch.matmul(scores.softmax(-1), v).transpose(0, 1).reshape(length, batch, channels)
        return F.linear(joined, self.out_proj.weight, self.out_proj.bias)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """(length, batch, channels) -> (batch * heads, length, channels / heads)."""
        length, batch, channels = x.shape
        return x.reshape(length, batch * self.num_heads, channels // self.num_heads).transpose(0, 1)


class TransformerLayer(nn.Module):
    """Self-attention, then two linear maps, each with a shortcut; no layer norm, for it gained nothing in YOLOv5."""

    def __init__(self, c: int, num_heads: int) -> None:
        super().__init__()
        self.q = Linear(c, c, bias=False)
        self.k = Linear(c, c, bias=False)
        self.v = Linear(c, c, bias=False)
        self.ma = MultiheadAttention(c, num_heads)
        self.fc1 = Linear(c, c, bias=False)
        self.fc2 = Linear(c, c, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(length, batch, channels) -> the same."""
        x = self.ma(self.q(x), self.k(x), self.v(x)) + x
        return self.fc2(self.fc1(x)) + x
