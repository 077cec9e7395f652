"""Attention against a loop over heads and positions."""

from __future__ import annotations

import numpy as np
import oneflow as torch
import pytest

from models.attention import MultiheadAttention, TransformerLayer


def naive(layer: MultiheadAttention, query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(length, batch, channels), float64, one query position of one head at a time."""
    weights = np.split(layer.in_proj_weight.detach().numpy().astype(np.float64), 3)
    biases = np.split(layer.in_proj_bias.detach().numpy().astype(np.float64), 3)
    q, k, v = (x @ w.T + b for x, w, b in zip((query, key, value), weights, biases))
    result, size = np.empty_like(q), query.shape[2] // layer.num_heads
    for i, batch, head in np.ndindex(query.shape[0], query.shape[1], layer.num_heads):
        part = slice(head * size, (head + 1) * size)
        scores = np.exp(k[:, batch, part] @ q[i, batch, part] / np.sqrt(size))
        result[i, batch, part] = scores / scores.sum() @ v[:, batch, part]
    return result @ layer.out_proj.weight.detach().numpy().T + layer.out_proj.bias.detach().numpy()


def test_against_a_loop():
    rng = np.random.default_rng(2)
    layer = MultiheadAttention(8, 2)
    with torch.no_grad():
        layer.in_proj_bias.copy_(torch.tensor(rng.standard_normal(24).astype(np.float32)))
    query = rng.standard_normal((5, 3, 8)).astype(np.float32)
    key, value = rng.standard_normal((2, 7, 3, 8)).astype(np.float32)  # more keys than queries
    ours = layer(*map(torch.tensor, (query, key, value))).detach().numpy()
    np.testing.assert_allclose(ours, naive(layer, query, key, value), atol=2e-6)


def test_heads_have_to_share_evenly():
    with pytest.raises(ValueError, match='3 heads do not share 8 channels'):
        MultiheadAttention(8, 3)


def test_order_of_the_sequence_does_not_matter_to_each_element():
    x = torch.tensor(np.random.default_rng(3).standard_normal((6, 2, 8)).astype(np.float32))
    layer = TransformerLayer(8, 4)
    np.testing.assert_allclose(layer(x.flip(0)).detach().numpy(), layer(x).flip(0).detach().numpy(), atol=1e-5)
