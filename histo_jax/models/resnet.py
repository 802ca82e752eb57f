"""ResNet as torchvision builds it (He et al. 2016, "v1.5"), with torchvision's names and init."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from histo_jax.errors import HistoError
from histo_jax.models.norms import batch_norm, layer_norm

FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # torch's kaiming_normal_

# name: (blocks in each of the four stages, bottleneck blocks?)
ENCODERS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet_tiny": ((1, 1, 1, 1), False),  # for tests
}
LAYER_NORM = "_ln"  # after a name: layer norm in place of batch norm
PARTS = ("stem", "layer1", "layer2", "layer3", "layer4")  # in the order of the pass


class Block(nn.Module):
    """A residual block: two 3×3 convolutions, or 1×1, 3×3 and 1×1 with four times the channels.

    The 3×3 convolution carries the stride in both (torchvision's choice). The shortcut is the
    input itself, or a 1×1 convolution where the shape changes.
    """

    channels: int
    stride: int
    bottleneck: bool
    dtype: Any
    param_dtype: Any
    axis: str | None
    layer_norm: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def conv(y: jax.Array, channels: int, kernel: int, stride: int, name: str) -> jax.Array:
            return convolve(self, y, channels, kernel, stride, name)

        def norm(y: jax.Array, name: str) -> jax.Array:
            return normalise(self, y, train, name)

        if self.bottleneck:
            out = 4 * self.channels
            y = nn.relu(norm(conv(x, self.channels, 1, 1, "conv1"), "bn1"))
            y = nn.relu(norm(conv(y, self.channels, 3, self.stride, "conv2"), "bn2"))
            y = norm(conv(y, out, 1, 1, "conv3"), "bn3")
        else:
            out = self.channels
            y = nn.relu(norm(conv(x, out, 3, self.stride, "conv1"), "bn1"))
            y = norm(conv(y, out, 3, 1, "conv2"), "bn2")
        if self.stride != 1 or x.shape[-1] != out:
            x = norm(conv(x, out, 1, self.stride, "downsample_0"), "downsample_1")
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Stem, four stages of residual blocks, global mean.

    Attributes:
      stages: number of blocks in each stage.
      bottleneck: whether blocks are bottlenecks.
      width: channels of the stem; stages have 1, 2, 4, 8 times as many (bottlenecks ×4).
      dtype: of the computation; batch statistics and the pooled output are in `param_dtype`.
      param_dtype: of parameters and running statistics: float32, or float64 in tests.
      axis: name of the device axis that batch statistics cover, or None for one device.
      remat: compute the inside of each block again in the backward pass instead of keeping it.
      layer_norm: normalise each image by itself, over (h, w, c), and keep no statistics.
    """

    stages: tuple[int, ...]
    bottleneck: bool
    width: int = 64
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    axis: str | None = None
    remat: bool = False
    layer_norm: bool = False

    @property
    def features(self) -> int:
        """Width of the pooled output."""
        return 8 * self.width * (4 if self.bottleneck else 1)

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool, frozen: str | None = None
    ) -> dict[str, jax.Array]:
        """Maps images [b, h, w, 3] in [-1, 1] to every level of features.

        Args:
          x: the images.
          train: normalise by the batch and update the running statistics.
          frozen: the last of `PARTS` that takes no part in training: up to it running statistics
            are used and kept, and no gradient flows.

        Returns:
          `stem` [b, h/2, w/2, width] (before the max pool), `layer1` … `layer4` at strides 4 to
          32, all after ReLU and in `dtype`, and `pooled` [b, features], the paper's features.
        """
        held = frozen_parts(frozen)
        learns = train and "stem" not in held
        x = convolve(self, x.astype(self.dtype), self.width, 7, 2, "conv1")
        x = nn.relu(normalise(self, x, learns, "bn1"))
        out = {"stem": lax.stop_gradient(x) if "stem" in held else x}
        x = max_pool(out["stem"])
        kind = nn.remat(Block, static_argnums=(2,)) if self.remat else Block  # 2: `train`
        for stage, blocks in enumerate(self.stages):
            part = f"layer{stage + 1}"
            learns = train and part not in held
            for block in range(blocks):
                x = kind(
                    channels=self.width * 2**stage,
                    stride=2 if stage and not block else 1,
                    bottleneck=self.bottleneck,
                    dtype=self.dtype,
                    param_dtype=self.param_dtype,
                    axis=self.axis,
                    layer_norm=self.layer_norm,
                    name=f"{part}_{block}",
                )(x, learns)
            out[part] = x = lax.stop_gradient(x) if part in held else x
        return out | {"pooled": jnp.mean(x.astype(self.param_dtype), axis=(1, 2))}


def frozen_parts(last: str | None) -> tuple[str, ...]:
    """The parts up to `last`, which is one of `PARTS`; none for None.

    Raises:
      HistoError: no such part.
    """
    if last is None:
        return ()
    if last not in PARTS:
        known = "known: " + ", ".join(PARTS)
        raise HistoError("config.supervised.freeze_to", "config", f"is {last!r}", known)
    return PARTS[: PARTS.index(last) + 1]


def part_of(name: str) -> str:
    """Which of `PARTS` a parameter of the encoder belongs to, by the first part of its name."""
    return name.split("_")[0] if name.startswith("layer") else "stem"


def convolve(
    net: ResNet | Block, x: jax.Array, channels: int, kernel: int, stride: int, name: str
) -> jax.Array:
    """A convolution without bias, padded as torch pads: symmetrically, unlike "SAME"."""
    half = kernel // 2
    return nn.Conv(
        channels,
        (kernel, kernel),
        strides=(stride, stride),
        padding=((half, half), (half, half)),
        use_bias=False,
        kernel_init=FAN_OUT,
        dtype=net.dtype,
        param_dtype=net.param_dtype,
        name=name,
    )(x)


def max_pool(x: jax.Array) -> jax.Array:
    """The largest of each 3 × 3 window at stride 2, padded by one: [b, h, w, c] to half.

    By slices, not by a window: on a CPU its gradient then takes a tenth of the time. Equal maxima
    share the gradient, where torch gives it to the first; after a ReLU these are zeros.
    """
    for axis in (1, 2):
        out = (x.shape[axis] + 1) // 2
        padding = [(0, 0)] * 4
        padding[axis] = (1, 1)
        padded = jnp.pad(x, padding, constant_values=-jnp.inf)
        shifts = (
            lax.slice_in_dim(padded, at, at + 2 * out - 1, stride=2, axis=axis) for at in range(3)
        )
        x = functools.reduce(jnp.maximum, shifts)
    return x


def normalise(net: ResNet | Block, x: jax.Array, train: bool, name: str) -> jax.Array:
    """The net's normalisation, in its precisions."""
    if net.layer_norm:
        y = layer_norm(x, name=name, param_dtype=net.param_dtype)
    else:
        y = batch_norm(x, train, name=name, param_dtype=net.param_dtype, axis=net.axis)
    return y.astype(net.dtype)


def build_encoder(
    name: str,
    width: int = 64,
    dtype: str = "float32",
    param_dtype: str = "float32",
    axis: str | None = None,
    remat: bool = False,
) -> ResNet:
    """The encoder of that name; see `architecture` and `ResNet`.

    Raises:
      HistoError: there is none of that name.
    """
    stages, bottleneck, layer = architecture(name)
    kinds = jnp.dtype(dtype), jnp.dtype(param_dtype)
    return ResNet(stages, bottleneck, width, *kinds, axis, remat, layer)


def architecture(name: str) -> tuple[tuple[int, ...], bool, bool]:
    """Blocks, whether bottlenecks, whether layer norm: of a name in `ENCODERS`, or of that + `_ln`.

    Raises:
      HistoError: there is none of that name.
    """
    plain = name.removesuffix(LAYER_NORM)
    if plain not in ENCODERS:
        known = "known: " + ", ".join(ENCODERS) + f"; with {LAYER_NORM} after it layer norm"
        raise HistoError("config.model.encoder", "config", f"is {name!r}", known)
    return *ENCODERS[plain], plain != name
