"""Every model family's variants, and their parameters, multiply-adds and memory by arithmetic alone (no jax).

NFNet: Brock, De, Smith, Simonyan 2021 (arXiv 2102.06171), table 1, section 5 and appendix C; the "+" variants are
wider at the same depth (appendix A.5). A new family is one more entry of `FAMILIES`.
"""

from __future__ import annotations

from dataclasses import dataclass

from scalelaw.errors import UserError, nearest


@dataclass(frozen=True)
class Variant:
    """One buildable NFNet.

    Attributes:
        name: as published (F0 ... F7+), or N0 ... for the nano family.
        family: the key of `FAMILIES` that it belongs to.
        widths, depths, strides: per stage: output channels, blocks, and the stride of its first block.
        stem_channels, stem_strides: per 3x3 convolution of the stem.
        group_width: channels a group of the 3x3 convolutions; None for a single group (a dense convolution).
    """

    name: str
    family: str
    widths: tuple[int, ...]
    depths: tuple[int, ...]
    strides: tuple[int, ...]
    stem_channels: tuple[int, ...]
    stem_strides: tuple[int, ...]
    group_width: int | None

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The residual blocks in order."""
        blocks = []
        channels = self.stem_channels[-1]
        for width, depth, stride in zip(self.widths, self.depths, self.strides, strict=True):
            for index in range(depth):
                half = width // 2
                groups = 1 if self.group_width is None else half // self.group_width
                bottleneck = half if self.group_width is None else groups * self.group_width
                blocks.append(Block(channels, width, bottleneck, groups, stride if index == 0 else 1, index == 0))
                channels = width
        return tuple(blocks)

    @property
    def head_channels(self) -> int:
        """Channels of the final 1x1 convolution, twice the last stage's width."""
        return 2 * self.widths[-1]


@dataclass(frozen=True)
class Block:
    """One residual block's shape: channels in, out and in the bottleneck, groups, stride, first of its stage?"""

    channels_in: int
    channels_out: int
    bottleneck: int
    groups: int
    stride: int
    starts_stage: bool

    @property
    def projects(self) -> bool:
        """Whether the shortcut changes shape and so goes through a 1x1 convolution."""
        return self.stride > 1 or self.channels_in != self.channels_out


@dataclass(frozen=True)
class Size:
    """What a variant costs at one resolution and class count.

    Attributes:
        params: all learned scalars.
        params_body: those without the final linear layer.
        macs_per_image: multiply-adds of one image's forward pass, padded edges counted.
        kernel_weights: those of the parameters that are weights of convolutions, and so are standardised.
    """

    params: int
    params_body: int
    macs_per_image: int
    kernel_weights: int


@dataclass(frozen=True)
class Tensors:
    """Values per image that the backward pass of a network needs, by where they are.

    One tensor for the output of every convolution and of every activation, for every pooled shortcut and every block's
    output. Gates, means and logits, a vector each, are left out: less than a thousandth.

    Attributes:
        stem, head: before the first block (the images themselves included) and after the last.
        inside: per block, all but its output.
        outputs: per block, its output.
    """

    stem: int
    head: int
    inside: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def kept(self) -> int:
        """All of them, as plain backpropagation keeps them."""
        return self.stem + self.head + sum(self.inside) + sum(self.outputs)

    @property
    def rematerialised(self) -> int:
        """With every block's inside computed anew in the backward pass: of the insides the largest alone."""
        return self.stem + self.head + max(self.inside) + sum(self.outputs)


@dataclass(frozen=True)
class Memory:
    """Bytes of one device in training, by arithmetic: what must be held at once, temporaries of the compiler left out.

    Attributes:
        params, gradients, momentum: 4 bytes a parameter each.
        ema: averaged weights, the same again, or 0 without.
        ascended: the weights at which a sharpness-aware step takes its gradients, likewise.
        kernels: the standardised weights of convolutions, in the type of the activations.
        activations: what the backward pass needs of the device's share of a batch.
    """

    params: int
    gradients: int
    momentum: int
    ema: int
    ascended: int
    kernels: int
    activations: int

    @property
    def total(self) -> int:
        """The sum in bytes."""
        weights = self.params + self.gradients + self.momentum + self.ema + self.ascended
        return weights + self.kernels + self.activations


def _published(k: int, plus: bool) -> Variant:
    widths = (384, 768, 2048, 2048) if plus else (256, 512, 1536, 1536)
    depths = tuple((k + 1) * depth for depth in (1, 2, 6, 3))
    stem = (16, 32, 64, widths[0] // 2)
    return Variant(f"F{k}{'+' * plus}", "nfnet", widths, depths, (1, 2, 2, 2), stem, (2, 1, 1, 2), 128)


def _nano(k: int, width: int) -> Variant:
    return Variant(f"N{k}", "nfnet", (width, 2 * width), (1, 1), (1, 2), (width,), (1,), None)


NANO_WIDTHS = (4, 6, 8, 12, 16, 24, 32, 48, 64)
FAMILIES: dict[str, dict[str, Variant]] = {
    "nfnet": {
        row.name: row
        for row in (
            *(_nano(k, width) for k, width in enumerate(NANO_WIDTHS)),
            *(_published(k, plus=False) for k in range(8)),
            *(_published(k, plus=True) for k in range(8)),
        )
    },
}


def variant(name: str, family: str = "nfnet") -> Variant:
    """Looks a variant up.

    Raises:
        UserError: for an unknown family or variant, naming the nearest.
    """
    if family not in FAMILIES:
        raise UserError(
            f"unknown model family {family!r}{nearest(family, list(FAMILIES))} (known: {', '.join(FAMILIES)})"
        )
    known = FAMILIES[family]
    if name not in known:
        raise UserError(f"unknown variant {name!r}{nearest(name, list(known))} (known: {', '.join(known)})")
    return known[name]


def size(model: Variant, resolution: int, classes: int) -> Size:
    """Parameters and multiply-adds of `model` for square images of `resolution` pixels and `classes` classes.

    Every convolution pads SAME, so its output is ceil(input / stride) wide; each has a bias and a gain per channel.
    """
    params = macs = kernels = 0

    def convolution(pixels: int, kernel: int, channels_in: int, channels_out: int, groups: int = 1) -> None:
        nonlocal params, macs, kernels
        weights = kernel * kernel * (channels_in // groups) * channels_out
        kernels += weights
        params += weights + 2 * channels_out
        macs += pixels * pixels * weights

    def linear(channels_in: int, channels_out: int) -> None:
        nonlocal params, macs
        params += (channels_in + 1) * channels_out
        macs += channels_in * channels_out

    side, channels = resolution, 3
    for width, stride in zip(model.stem_channels, model.stem_strides, strict=True):
        side = -(-side // stride)
        convolution(side, 3, channels, width)
        channels = width
    for block in model.blocks:
        inside, out = block.bottleneck, block.channels_out
        convolution(side, 1, block.channels_in, inside)
        side = -(-side // block.stride)
        convolution(side, 3, inside, inside, block.groups)
        convolution(side, 3, inside, inside, block.groups)
        convolution(side, 1, inside, out)
        if block.projects:
            convolution(side, 1, block.channels_in, out)
        linear(out, out // 2)
        linear(out // 2, out)
        params += 1  # the skip gain
    convolution(side, 1, model.widths[-1], model.head_channels)
    body = params
    linear(model.head_channels, classes)
    return Size(params, body, macs, kernels)


def tensors(model: Variant, resolution: int) -> Tensors:
    """What the backward pass of `model` needs of an image of `resolution` pixels a side, in values."""
    side, channels = resolution, 3
    stem = side * side * channels
    for index, (width, stride) in enumerate(zip(model.stem_channels, model.stem_strides, strict=True)):
        side, channels = -(-side // stride), width
        activated = index < len(model.stem_channels) - 1
        stem += side * side * width * (1 + activated)
    inside, outputs = [], []
    for block in model.blocks:
        before, side = side * side, -(-side // block.stride)
        after = side * side
        # a, first convolution and its activation at the input's side; two convolutions and activations; the last one
        values = before * (block.channels_in + 2 * block.bottleneck)
        values += after * (4 * block.bottleneck + block.channels_out)
        if block.projects:
            values += after * (block.channels_out + (block.channels_in if block.stride > 1 else 0))
        inside.append(values)
        outputs.append(after * block.channels_out)
    return Tensors(stem, 2 * side * side * model.head_channels, tuple(inside), tuple(outputs))


def memory(
    model: Variant,
    resolution: int,
    classes: int,
    batch_per_device: int,
    *,
    bytes_per_value: int = 2,
    rematerialised: bool = False,
    ema: bool = False,
    sharpness: bool = False,
) -> Memory:
    """Bytes that training `model` needs on one device, by arithmetic.

    Args:
        model: the network.
        resolution, classes: of its images.
        batch_per_device: images of a step on one device.
        bytes_per_value: of activations: 2 for bfloat16, 4 for float32. Parameters and what follows them take 4.
        rematerialised: whether every block's inside is computed anew in the backward pass.
        ema: whether averaged weights are kept.
        sharpness: whether steps are sharpness-aware.
    """
    counted, needed = size(model, resolution, classes), tensors(model, resolution)
    values = needed.rematerialised if rematerialised else needed.kept
    each = 4 * counted.params
    return Memory(
        params=each,
        gradients=each,
        momentum=each,
        ema=each if ema else 0,
        ascended=each if sharpness else 0,
        kernels=bytes_per_value * counted.kernel_weights,
        activations=bytes_per_value * batch_per_device * values,
    )
