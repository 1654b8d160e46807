"""A Vision Transformer that reads a mel spectrogram as a row of patches.

The plain one of Dosovitskiy et al. (2021): patches of the picture, a class token, position
embeddings, and encoder blocks with the norm in front. Patches may overlap, as in the Audio
Spectrogram Transformer (Gong et al. 2021), and may be as high as the picture, so that each is a
moment.
"""

from __future__ import annotations

from typing import Any

from genrescope.errors import MissingExtraError, TrainingError

try:
    import torch
    from torch import nn
    from torch.nn import functional
except ImportError as error:  # pragma: no cover - the tests have torch
    raise MissingExtraError("networks", extra="deep", package="torch") from error

__all__ = ["VisionTransformer"]

_SPREAD = 0.02  # of the first weights, as in the original


class _Attention(nn.Module):
    """Every token looks at every token."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
        batch, tokens, width = x.shape
        shape = (batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
        h = functional.scaled_dot_product_attention(q, k, v)
        return self.out(h.transpose(1, 2).reshape(batch, tokens, width))


class _Block(nn.Module):
    """Attention and a perceptron, each with the norm in front and a short cut."""

    def __init__(self, width: int, *, heads: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = _Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp, width)
        )
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Any) -> Any:
        x = x + self.drop(self.attention(self.norm_attention(x)))
        return x + self.drop(self.mlp(self.norm_mlp(x)))


class VisionTransformer(nn.Module):
    """Patches, a class token, position embeddings, encoder blocks.

    Parameters
    ----------
    input_shape : (int, int, int)
        Channels, bands and frames. Bands and frames that do not fill a patch are not read.
    n_genres : int
        Size of the output.
    width, depth, heads, mlp : int
        Size of a token, number of blocks, attention heads, units of the perceptrons.
    patch : (int, int)
        Bands and frames of a patch.
    overlap : (int, int)
        How many of these it shares with the next patch.
    dropout : float
        On the embeddings and in the blocks.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        n_genres: int,
        width: int = 1024,
        depth: int = 6,
        heads: int = 16,
        mlp: int = 2048,
        patch: tuple[int, int] = (16, 16),
        overlap: tuple[int, int] = (0, 0),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        channels, bands, frames = input_shape
        stride = (patch[0] - overlap[0], patch[1] - overlap[1])
        if min(patch) < 1 or min(overlap) < 0 or min(stride) < 1:
            raise TrainingError(
                f"patches of {patch[0]} x {patch[1]} cannot overlap by {overlap[0]} x {overlap[1]}"
                "; the overlap must be 0 or more and smaller than the patch"
            )
        if patch[0] > bands or patch[1] > frames:
            raise TrainingError(
                f"patches of {patch[0]} x {patch[1]} do not fit into {bands} x {frames}; "
                "give smaller ones"
            )
        if width % heads:
            raise TrainingError(
                f"width {width} cannot be shared by {heads} heads; give a multiple of {heads}"
            )
        self.grid = ((bands - patch[0]) // stride[0] + 1, (frames - patch[1]) // stride[1] + 1)
        self.embed = nn.Conv2d(channels, width, patch, stride=stride)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.empty(1, 1 + self.grid[0] * self.grid[1], width))
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.Sequential(
            *(_Block(width, heads=heads, mlp=mlp, dropout=dropout) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.genre = nn.Linear(width, n_genres)
        nn.init.trunc_normal_(self.position, std=_SPREAD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=_SPREAD)
                nn.init.zeros_(module.bias)

    def forward(self, x: Any) -> Any:
        patches = self.embed(x).flatten(2).transpose(1, 2)
        token = self.token.expand(x.shape[0], -1, -1)
        h = self.drop(torch.cat([token, patches], dim=1) + self.position)
        return self.genre(self.norm(self.blocks(h))[:, 0])
