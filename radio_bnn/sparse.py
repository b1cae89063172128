"""Exact sparse evaluation of the first convolution: 98 % of a radio image is background, one constant.

Max-pooling commutes with ReLU, so a pooled site of the first layer differs from its response to an empty image only
if its 6 x 6 input window holds a pixel that is not background. Those windows are gathered once as rows (n, 36); a
matrix (36, 4 C) built from the kernel gives the four positions under the 2 x 2 pool. Everything else is the empty
image's pooled map, which has 3 x 3 distinct values (the zero padding changes its border).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

KERNEL = 5
WINDOW = KERNEL + 1
PADDING = 1
DENSE_ABOVE = 0.3


@dataclass(frozen=True, eq=False)
class Windows:
    """The n active 6 x 6 windows of N images of size (H, W).

    rows (n, 36); site (n,) pooled site y P_x + x within the image; offsets (N + 1,) so that image i owns the rows
    ``offsets[i]:offsets[i + 1]``; ``background`` the constant pixel value; ``size`` (H, W).
    """

    rows: Tensor
    site: Tensor
    offsets: Tensor
    background: float
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def pooled(self) -> tuple[int, int]:
        """Shape of the pooled map, (P_y, P_x)."""
        return tuple((n + 2 * PADDING - KERNEL + 1) // 2 for n in self.size)

    @property
    def active_share(self) -> float:
        """Share of pooled sites that hold signal, 0..1."""
        return len(self.rows) / (len(self) * self.pooled[0] * self.pooled[1])

    def __getitem__(self, index: Tensor | slice) -> Windows:
        """The windows of the images at ``index``, in that order."""
        if isinstance(index, slice):
            index = torch.arange(len(self), device=self.site.device)[index]
        counts = self.offsets.diff()[index]
        offsets = F.pad(counts.cumsum(0), (1, 0))
        row = torch.arange(int(offsets[-1]), device=index.device)
        row += torch.repeat_interleave(self.offsets[index] - offsets[:-1], counts)
        return Windows(self.rows[row], self.site[row], offsets, self.background, self.size)

    def transformed(self, turns: int, flip: bool) -> Windows:
        """The windows of the images turned by ``turns`` right angles after an optional left-right flip (D4).

        Raises ValueError unless the images are square with an even side (else pooling has no such symmetry).
        """
        if self.size[0] != self.size[1] or self.size[0] % 2:
            raise ValueError(f"D4 needs square images with an even side, not {self.size[0]} x {self.size[1]}")
        columns = turn(torch.arange(WINDOW**2, device=self.site.device).view(WINDOW, WINDOW), turns, flip).flatten()
        side = self.pooled[0]
        old = turn(torch.arange(side * side, device=self.site.device).view(side, side), turns, flip).flatten()
        new = torch.empty_like(old)
        new[old] = torch.arange(side * side, device=old.device)
        return Windows(self.rows[:, columns], new[self.site], self.offsets, self.background, self.size)


def turn(images: Tensor, turns: int, flip: bool) -> Tensor:
    """The element of the dihedral group D4: an optional left-right flip, then ``turns`` right angles. (..., H, W)."""
    return torch.rot90(images.flip(-1) if flip else images, turns, (-2, -1))


def windows(images: Tensor, background: float) -> Windows:
    """The active windows of images (N, 1, H, W) whose background is exactly ``background``."""
    n, _, *size = images.shape
    padded = F.pad(images[:, 0], (PADDING,) * 4)
    signal = F.pad((images[:, 0] != background).to(images.dtype), (PADDING,) * 4)
    active = F.max_pool2d(signal.unsqueeze(1), WINDOW, stride=2)[:, 0] > 0
    view = padded.unfold(1, WINDOW, 2).unfold(2, WINDOW, 2)
    counts = active.flatten(1).sum(1)
    site = active.flatten(1).nonzero()[:, 1]
    return Windows(view[active].flatten(1), site, F.pad(counts.cumsum(0), (1, 0)), background, tuple(size))


def prepare(images: Tensor, background: float) -> Windows | Tensor:
    """Windows where images (N, 1, H, W) are mostly background, else the images themselves (dense)."""
    if len(images) == 0:
        return images
    sparse = windows(images, background)
    return sparse if sparse.active_share <= DENSE_ABOVE else images


def conv_pool_relu(conv: torch.nn.Module, x: Windows | Tensor) -> Tensor:
    """relu(max_pool2d(conv(x), 2)); for Windows the same numbers from the active windows alone.

    x (N, C, H, W) or Windows -> (N, C', P_y, P_x). ``conv`` is a 5 x 5 convolution of stride 1 and padding 1.
    """
    if isinstance(x, Tensor):
        return F.relu(F.max_pool2d(conv(x), 2))
    weight, bias = conv.weights() if hasattr(conv, "weights") else (conv.weight, conv.bias)
    empty = torch.full(
        (1, 1, 8 + x.size[0] % 2, 8 + x.size[1] % 2), x.background, dtype=weight.dtype, device=weight.device
    )
    edge = F.relu(F.max_pool2d(F.conv2d(empty, weight, bias, padding=PADDING), 2))[0].permute(1, 2, 0)
    four = (x.rows @ _under_the_pool(weight)).view(-1, 4, len(weight))
    values = F.relu(torch.maximum(torch.maximum(four[:, 0], four[:, 1]), torch.maximum(four[:, 2], four[:, 3])) + bias)
    return _Place.apply(values, edge, x).permute(0, 3, 1, 2)


def _under_the_pool(weight: Tensor) -> Tensor:
    """weight (C, 1, 5, 5) -> (36, 4 C): the kernel at the four positions inside a 6 x 6 window."""
    shifts = [F.pad(weight[:, 0], (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
    return torch.stack(shifts).flatten(2).permute(2, 0, 1).flatten(1)


class _Place(torch.autograd.Function):
    """Copy active values (n, C) into the empty image's map edge (3, 3, C), as (N, P_y, P_x, C)."""

    @staticmethod
    def forward(ctx, values: Tensor, edge: Tensor, x: Windows) -> Tensor:
        (height, width), channels = x.pooled, values.shape[1]
        rows, columns = _edge_index(height, values.device), _edge_index(width, values.device)
        out = edge.to(values.dtype)[rows][:, columns].expand(len(x), -1, -1, -1).contiguous()
        image = torch.repeat_interleave(torch.arange(len(x), device=values.device), x.offsets.diff())
        ctx.place = image * (height * width) + x.site
        out.view(-1, channels).index_copy_(0, ctx.place, values)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        grad = grad.contiguous()
        n, height, width, channels = grad.shape
        flat = grad.view(-1, channels)
        at_values = flat[ctx.place]
        rest = flat.index_fill(0, ctx.place, 0).view(n, -1).sum(0).view(height, width, channels)
        by_row = torch.stack([rest[0], rest[1:-1].sum(0), rest[-1]])
        return at_values, torch.stack([by_row[:, 0], by_row[:, 1:-1].sum(1), by_row[:, -1]], 1), None


def _edge_index(n: int, device: torch.device) -> Tensor:
    index = torch.ones(n, dtype=torch.long, device=device)
    index[0], index[-1] = 0, 2
    return index
