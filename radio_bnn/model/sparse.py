"""Exact sparse evaluation of the first convolutions: 98 % of a radio image is background, one constant.

Max-pooling commutes with ReLU, so a pooled site of the first layer differs from its response to an empty image only
if its 6 x 6 input window holds a pixel that is not background. Those windows are gathered once as rows (n, 36); a
matrix (4 C, 36) built from the kernel gives the four positions under the 2 x 2 pool. Everything else is the empty
image's pooled map, which has 3 x 3 distinct values (the zero padding changes its border). The gradients of the second
convolution need its input at the active sites and the empty image alone, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from radio_bnn.model.layers import conv2d

KERNEL = 5
WINDOW = KERNEL + 1
PADDING = 1
DENSE_ABOVE = 0.3
PREPARED_AT_ONCE = 64


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
    sparse = joined([windows(part, background) for part in images.split(PREPARED_AT_ONCE)])
    return sparse if sparse.active_share <= DENSE_ABOVE else images


def joined(parts: Sequence[Windows]) -> Windows:
    """The windows of all images of ``parts``, one or more with one background and size, in their order."""
    counts = torch.cat([part.offsets.diff() for part in parts])
    rows, site = torch.cat([part.rows for part in parts]), torch.cat([part.site for part in parts])
    return replace(parts[0], rows=rows, site=site, offsets=F.pad(counts.cumsum(0), (1, 0)))


@dataclass(frozen=True, eq=False)
class SparseMap:
    """A feature map of N images that equals the empty image's but at ``place``.

    values (n, C) at the flat sites place (n,) of (N, H, W); edge (3, 3, C), the distinct values of the empty image's
    map; ``shape`` (N, H, W).
    """

    values: Tensor
    edge: Tensor
    place: Tensor
    shape: tuple[int, int, int]

    def empty(self) -> Tensor:
        """The map of the empty image, (H, W, C)."""
        rows, columns = (_edge_index(n, self.place.device) for n in self.shape[1:])
        return self.edge.to(self.values.dtype)[rows][:, columns]

    def dense(self) -> Tensor:
        """The map as a tensor (N, C, H, W), channels last in memory."""
        out = self.empty().expand(len(self), -1, -1, -1).contiguous()
        out.view(-1, self.values.shape[1]).index_copy_(0, self.place, self.values)
        return out.permute(0, 3, 1, 2)

    def __len__(self) -> int:
        return self.shape[0]


def conv_pool_relu(conv: torch.nn.Module, x: Windows | SparseMap | Tensor) -> SparseMap | Tensor:
    """relu(max_pool2d(conv(x), 2)) for a tensor (N, C, H, W) -> (N, C', P_y, P_x); the same numbers for sparse input.

    Windows -> SparseMap, from the active windows alone; SparseMap -> Tensor, whose gradients need the active sites
    alone. ``conv`` is a 5 x 5 convolution of ``layers``, stride 1 and padding 1.
    """
    if isinstance(x, Windows):
        return _first_layer(*conv.weights(), x)
    if isinstance(x, SparseMap):
        return _pool_relu(_ConvOfMap.apply(x.values, x.edge, *conv.weights(), x.place, x.shape))
    return _pool_relu(conv(x))


def _pool_relu(x: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        return F.relu(F.max_pool2d(x, 2))
    x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
    rows = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
    return F.relu(torch.maximum(rows[..., ::2], rows[..., 1::2]))


def _first_layer(weight: Tensor, bias: Tensor, x: Windows) -> SparseMap:
    """In full precision also under autocast: in bfloat16 every new number of rows would compile a kernel of its own."""
    device = weight.device.type
    reduced = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    with torch.autocast(device, enabled=False):
        sparse = _first_layer_exact(weight, bias, x)
    return sparse if reduced is None else replace(sparse, values=sparse.values.to(reduced))


def _first_layer_exact(weight: Tensor, bias: Tensor, x: Windows) -> SparseMap:
    empty = torch.full(
        (1, 1, 8 + x.size[0] % 2, 8 + x.size[1] % 2), x.background, dtype=weight.dtype, device=weight.device
    )
    edge = F.relu(F.max_pool2d(F.conv2d(empty, weight, bias, padding=PADDING), 2))[0].permute(1, 2, 0)
    # One row for each channel: the maximum and its gradient then run along memory.
    four = (_under_the_pool(weight) @ x.rows.T).view(4, len(weight), -1)
    values = F.relu(four.amax(0) + bias[:, None]).T.contiguous()
    image = torch.repeat_interleave(torch.arange(len(x), device=x.site.device), x.offsets.diff())
    height, width = x.pooled
    return SparseMap(values, edge, image * (height * width) + x.site, (len(x), height, width))


def _under_the_pool(weight: Tensor) -> Tensor:
    """weight (C, 1, 5, 5) -> (4 C, 36): the kernel at the four positions inside a 6 x 6 window."""
    shifts = [F.pad(weight[:, 0], (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
    return torch.cat(shifts).flatten(1)


class _ConvOfMap(torch.autograd.Function):
    """conv2d of a SparseMap. Its gradients split the map into the empty image's and the deviations at ``place``.

    The first part needs the output's gradient summed over images only: one image's work. The second needs the 5 x 5
    windows of the output's gradient around the active sites: they serve the weights and the values.
    """

    @staticmethod
    def forward(ctx, values: Tensor, edge: Tensor, weight: Tensor, bias: Tensor, place: Tensor, shape) -> Tensor:
        x = SparseMap(values, edge, place, shape)
        ctx.save_for_backward(values, edge, weight, bias, place)
        ctx.shape = shape
        return conv2d(x.dense(), weight, bias, padding=PADDING)

    @staticmethod
    def backward(ctx, grad: Tensor):
        values, edge, weight, bias, place = ctx.saved_tensors
        x, grad = SparseMap(values, edge, place, ctx.shape), grad.permute(0, 2, 3, 1).contiguous()
        empty = x.empty().to(weight.dtype)
        summed = grad.sum(0, keepdim=True).to(weight.dtype)
        every, of_weight, of_bias = torch.ops.aten.convolution_backward(
            summed.permute(0, 3, 1, 2), empty.permute(2, 0, 1)[None], weight, [len(bias)], *CONVOLUTION, [True] * 3
        )
        site = place % (x.shape[1] * x.shape[2])
        deviation = values.to(weight.dtype) - empty.view(-1, values.shape[1])[site]
        of_values, at_place = _gradients_at_place(grad, x, deviation, weight)
        rest = every[0].permute(1, 2, 0).reshape(-1, values.shape[1]).index_add(0, site, -of_values)
        rest = rest.view(*x.shape[1:], -1)
        by_row = torch.stack([rest[0], rest[1:-1].sum(0), rest[-1]])
        of_edge = torch.stack([by_row[:, 0], by_row[:, 1:-1].sum(1), by_row[:, -1]], 1)
        return of_values.to(values.dtype), of_edge.to(edge.dtype), of_weight + at_place, of_bias, None, None


# stride, padding, dilation, transposed, output padding, groups
CONVOLUTION = ([1, 1], [PADDING] * 2, [1, 1], False, [0, 0], 1)
AT_ONCE = 8


def _gradients_at_place(grad: Tensor, x: SparseMap, deviation: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """A convolution's gradients: for its input at the active sites (n, C), and for its weight from ``deviation`` there.

    grad (N, H - 2, W - 2, C') of the output. A few images at a time, so that their windows stay in the cache; in the
    precision of ``weight``, see ``_first_layer``.
    """
    (n, height, width), channels = x.shape, grad.shape[-1]
    reach = KERNEL - 1 - PADDING
    rows, columns = height + KERNEL - 1, width + KERNEL - 1
    kernel = weight.flip(2, 3).permute(1, 2, 3, 0).flatten(1)
    below = torch.arange(KERNEL, device=grad.device) * columns
    starts = list(range(0, n, AT_ONCE))
    bounds = torch.searchsorted(x.place, torch.tensor([*starts, n], device=grad.device) * (height * width)).tolist()
    of_values, of_weight = [], weight.new_zeros(len(deviation.T), KERNEL**2 * channels)
    for start, low, high in zip(starts, bounds[:-1], bounds[1:], strict=True):
        padded = F.pad(grad[start : start + AT_ONCE], (0, 0, reach, reach, reach, reach))
        line = padded.as_strided((padded[..., 0].numel() - KERNEL + 1, KERNEL * channels), (channels, 1))
        image, site = x.place[low:high] // (height * width) - start, x.place[low:high] % (height * width)
        first = (image * rows + site // width) * columns + site % width
        seen = line.index_select(0, (first[:, None] + below).flatten()).view(high - low, KERNEL**2 * channels)
        seen = seen.to(weight.dtype)
        of_values.append(kernel @ seen.T)  # with so few channels several times faster than seen @ kernel.T
        of_weight += deviation[low:high].T @ seen
    of_weight = of_weight.view(-1, KERNEL, KERNEL, channels).permute(3, 0, 1, 2).flip(2, 3)
    return torch.cat(of_values, 1).T.contiguous(), of_weight


def _edge_index(n: int, device: torch.device) -> Tensor:
    index = torch.ones(n, dtype=torch.long, device=device)
    index[0], index[-1] = 0, 2
    return index
