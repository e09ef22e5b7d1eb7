"""The network: a llama small enough to train in half an hour on two cores.

Parameter names are those of the GGUF format, so that export is a copy. RoPE turns interleaved pairs, which is what
llama.cpp expects of a llama without any permutation of the weights.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    vocabulary: int
    width: int = 192
    layers: int = 6
    heads: int = 6
    feed_forward: int = 512
    context: int = 2048
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5


class Norm(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width))
        self.epsilon = shape.norm_epsilon

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


def rope(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = turn  # each (rows, 1, tokens, half a head)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, inner = shape.width, shape.feed_forward
        self.heads = shape.heads
        self.attn_norm, self.ffn_norm = Norm(shape), Norm(shape)
        self.attn_q, self.attn_k, self.attn_v, self.attn_output = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.ffn_gate, self.ffn_up = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.ffn_down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        rows, tokens, width = x.shape
        h = self.attn_norm(x)
        q, k, v = (
            m(h).view(rows, tokens, self.heads, -1).transpose(1, 2) for m in (self.attn_q, self.attn_k, self.attn_v)
        )
        seen = functional.scaled_dot_product_attention(rope(q, turn), rope(k, turn), v, is_causal=True)
        x = x + self.attn_output(seen.transpose(1, 2).reshape(rows, tokens, width))
        h = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = Norm(shape)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                into_residual = "ffn_down" in name or "attn_output" in name
                nn.init.normal_(p, std=0.02 / (math.sqrt(2 * shape.layers) if into_residual else 1))

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Logits (rows, tokens, vocabulary); the output shares the embedding's weights."""
        half = self.shape.width // self.shape.heads // 2
        angle = positions[:, None, :, None] * self.shape.rope_base ** (-torch.arange(half) / half)
        turn = (angle.cos(), angle.sin())
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, turn)
        return self.output_norm(x) @ self.token_embd.weight.T
