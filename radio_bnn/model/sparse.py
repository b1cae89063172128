"""Exact sparse evaluation of the first convolutions: 98 % of a radio image is background, one constant.

Max-pooling commutes with ReLU, so a pooled site of the first layer differs from its response to an empty image only
if its 6 x 6 input window holds a pixel that is not background. Those windows are gathered once as rows (n, 36); a
matrix (4 C, 36) built from the kernel gives the four positions under the 2 x 2 pool. Everything else is the empty
image's pooled map, which has 3 x 3 distinct values (the zero padding changes its border).

The second layer is the same once more: its windows are 3 x 3 blocks of 2 x 2 sites, and a block without an active site
is one of the empty image's 3 x 3. The next convolution is dense, but its gradients need its input at the active sites
and the empty image alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from radio_bnn.model.layers import conv2d, convolves_in_bfloat16, rounded

KERNEL = 5
WINDOW = KERNEL + 1
PADDING = 1
# Shares of active sites in the first pooled map beyond which that layer, and the second, are faster dense.
DENSE_ABOVE, SECOND_DENSE_ABOVE = 0.3, 0.1
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

    @property
    def place(self) -> Tensor:
        """The flat sites (n,) of the rows in the pooled maps of all images, (N, P_y, P_x)."""
        image = torch.repeat_interleave(torch.arange(len(self), device=self.site.device), self.offsets.diff())
        return image * math.prod(self.pooled) + self.site

    @cached_property
    def blocks(self) -> Blocks:
        """What the second layer needs to know of where signal is; found once, for training too."""
        with torch.inference_mode(False):
            active = torch.zeros(len(self) * math.prod(self.pooled), dtype=torch.bool, device=self.site.device)
            return _blocks(active.index_fill_(0, self.place, True).view(-1, *self.pooled), self.place)

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
class Blocks:
    """Where a pooled map (N, H, W), padded and cut into 2 x 2 blocks, differs from the empty image's.

    Of the b blocks that hold an active site: ``kind`` (b,), which of the empty image's 3 x 3 blocks each is elsewhere;
    ``slot`` (n,), 4 block + position of every active site. Of the m windows, 3 x 3 blocks, that hold one: ``place``
    (m,), their flat sites in the next pooled map, of ``shape`` (N, Q_y, Q_x); ``rows`` (m + 9, 9), the blocks of each,
    and of the nine windows of the empty image: below 9 one of its blocks, from 9 on one of the b. ``back`` (b, 9): the
    row that has a block at each of the nine positions, m + 9 where none has.
    """

    kind: Tensor
    slot: Tensor
    place: Tensor
    rows: Tensor
    back: Tensor
    shape: tuple[int, int, int]


EMPTY, INNER = 9, 4  # blocks, and windows, that an empty image has; the one away from its border
# Along one side: the kinds of block in the first, an inner and the last window.
ALONG = ((0, 1, 1), (1, 1, 1), (1, 1, 2))


def _blocks(active: Tensor, place: Tensor) -> Blocks:
    """The Blocks of a map whose active sites, (N, H, W) bool, are at the flat ``place``."""
    (n, *size), device = active.shape, active.device
    rows, columns = ((side + 2 * PADDING) // 2 for side in size)
    cut = F.pad(active, (1, 2 * columns - size[1] - 1, 1, 2 * rows - size[0] - 1)).view(n, rows, 2, columns, 2)
    held = cut.any(4).any(2)
    seen = held[:, :-2] | held[:, 1:-1] | held[:, 2:]
    seen = seen[..., :-2] | seen[..., 1:-1] | seen[..., 2:]
    windows_at, blocks_at = (mask.flatten().nonzero()[:, 0] for mask in (seen, held))

    kinds = EMPTY // 3 * _edge_index(rows, device)[:, None] + _edge_index(columns, device)
    name = kinds.expand(n, -1, -1).flatten()
    kind = name[blocks_at]
    name[blocks_at] = EMPTY + torch.arange(len(kind), device=device)
    three, along = torch.arange(3, device=device), torch.tensor(ALONG, device=device)
    corner = _moved(windows_at, seen.shape[1:], (rows, columns))
    of_windows = name[corner[:, None] + (three[:, None] * columns + three).flatten()]
    of_empty = (EMPTY // 3 * along[:, None, :, None] + along[None, :, None, :]).reshape(EMPTY, EMPTY)

    window = torch.full_like(seen, len(windows_at) + EMPTY, dtype=torch.long)
    window.view(-1)[windows_at] = torch.arange(len(windows_at), device=device)
    window = F.pad(window, (2, 2, 2, 2), value=len(windows_at) + EMPTY)
    last = _moved(blocks_at, (rows, columns), window.shape[1:], by=2)
    back = window.flatten()[last[:, None] - (three[:, None] * window.shape[2] + three).flatten()]

    y, x = place // size[1] % size[0] + PADDING, place % size[1] + PADDING
    block = name[place // math.prod(size) * (rows * columns) + y // 2 * columns + x // 2] - EMPTY
    slot = 4 * block + 2 * (y % 2) + x % 2
    return Blocks(kind, slot, windows_at, torch.cat([of_windows, of_empty]), back, tuple(seen.shape))


def _moved(place: Tensor, size: Sequence[int], to: Sequence[int], by: int = 0) -> Tensor:
    """Flat sites of maps of one size as those of maps of another, ``by`` sites further down and to the right."""
    image, y, x = place // (size[0] * size[1]), place // size[1] % size[0] + by, place % size[1] + by
    return (image * to[0] + y) * to[1] + x


@dataclass(frozen=True, eq=False)
class SparseMap:
    """A feature map of N images that equals the empty image's but at ``place``.

    values (n, C) at the flat sites place (n,) of (N, H, W); edge (3, 3, C), the distinct values of the empty image's
    map; ``shape`` (N, H, W); ``windows``: those whose first layer this is.
    """

    values: Tensor
    edge: Tensor
    place: Tensor
    shape: tuple[int, int, int]
    windows: Windows | None = None

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

    Windows -> SparseMap -> SparseMap, from the active windows alone; SparseMap -> Tensor, whose gradients need the
    active sites alone, where that is or where the processor convolves in bfloat16, which is faster. ``conv`` is a 5 x 5
    convolution of ``layers``, stride 1 and padding 1.
    """
    if isinstance(x, Windows):
        return _first_layer(*conv.weights(), x)
    if isinstance(x, SparseMap) and x.windows is not None and _is_sparse_enough(x.windows):
        return _second_layer(*conv.weights(), x, x.windows.blocks)
    if isinstance(x, SparseMap):
        return _pool_relu(_ConvOfMap.apply(x.values, x.edge, *conv.weights(), x.place, x.shape))
    return _pool_relu(conv(x))


def _is_sparse_enough(x: Windows) -> bool:
    return x.active_share <= SECOND_DENSE_ABOVE and not convolves_in_bfloat16()


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
    four = (_under_the_pool(weight).flatten(1) @ x.rows.T).view(4, len(weight), -1)
    values = F.relu(four.amax(0) + bias[:, None]).T.contiguous()
    return SparseMap(values, edge, x.place, (len(x), *x.pooled), x)


def _under_the_pool(weight: Tensor) -> Tensor:
    """weight (C', C, 5, 5) -> (4 C', C, 6, 6): the kernel at the four positions inside a 6 x 6 window."""
    return torch.cat([F.pad(weight, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)])


def _second_layer(weight: Tensor, bias: Tensor, x: SparseMap, blocks: Blocks) -> SparseMap:
    small = (1, 8 + x.shape[1] % 2, 8 + x.shape[2] % 2)
    out = rounded(partial(_of_blocks, blocks, small), x.values, x.edge, weight, bias)
    return SparseMap(out[:-EMPTY], out[-EMPTY:].view(3, 3, -1), blocks.place, blocks.shape)


def _of_blocks(blocks: Blocks, small: tuple[int, int, int], values: Tensor, edge: Tensor, weight: Tensor, bias: Tensor):
    """The layer's output for each row of ``blocks.rows``, (m + 9, C'). ``small``: an empty map of the same kind."""
    channels = values.shape[1]
    empty = F.pad(SparseMap(values, edge, blocks.place, small).empty(), (0, 0, 1, 1, 1, 1))[:10, :10]
    empty = empty.reshape(5, 2, 5, 2, channels).transpose(1, 2)[::2, ::2].reshape(EMPTY, -1)
    held = empty[blocks.kind].view(-1, channels).index_copy(0, blocks.slot, values)
    kernel = _under_the_pool(weight).view(-1, channels, 3, 2, 3, 2).permute(0, 2, 4, 3, 5, 1).flatten(1)
    four = _OfRows.apply(torch.cat([empty, held.view(-1, 4 * channels)]), kernel, blocks.rows, blocks.back)
    return F.relu(four.view(4, len(weight), -1).amax(0) + bias[:, None]).T.contiguous()


ROWS_AT_ONCE = 2048


class _OfRows(torch.autograd.Function):
    """kernel (k, 9 F) times the rows of nine entries of a table (t, F) each, rows (r, 9) -> (k, r).

    Some rows at a time, which stay in the cache; ``back`` (t - 9, 9) says for each entry from 9 on which rows have it.
    """

    @staticmethod
    def forward(ctx, table: Tensor, kernel: Tensor, rows: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(table, kernel, rows, back)
        return torch.cat([kernel @ _gathered(table, some).T for some in rows.split(ROWS_AT_ONCE)], 1)

    @staticmethod
    def backward(ctx, grad: Tensor):
        table, kernel, rows, back = ctx.saved_tensors
        of_rows, of_kernel = kernel.new_empty(len(rows) + 1, kernel.shape[1]), torch.zeros_like(kernel)
        of_rows[-1] = 0
        parts = (each.split(ROWS_AT_ONCE, dim) for each, dim in ((grad, 1), (rows, 0), (of_rows[:-1], 0)))
        for of_part, some, into in zip(*parts, strict=True):
            of_kernel += of_part @ _gathered(table, some)
            torch.mm(of_part.T, kernel, out=into)
        entries = of_rows.view(-1, table.shape[1])
        nine = torch.arange(9, device=rows.device)
        of_held = entries[(9 * back + nine).flatten()].view(len(back), 9, table.shape[1]).sum(1)
        # Of the empty blocks those at the border are few; the inner one has what is left of all.
        border = ((rows < EMPTY) & (rows != INNER)).flatten().nonzero()[:, 0]
        of_empty = kernel.new_zeros(EMPTY, table.shape[1]).index_add_(0, rows.flatten()[border], entries[border])
        of_empty[INNER] = (grad.sum(1) @ kernel).view(9, -1).sum(0) - of_held.sum(0) - of_empty.sum(0)
        return torch.cat([of_empty, of_held]), of_kernel, None, None


def _gathered(table: Tensor, rows: Tensor) -> Tensor:
    return table.index_select(0, rows.flatten()).view(len(rows), -1)


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
AT_ONCE = 4


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
