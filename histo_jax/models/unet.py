"""U-Net as segmentation_models_pytorch builds it, on our encoder, with its names and init."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from histo_jax.errors import HistoError
from histo_jax.models.norms import batch_norm
from histo_jax.models.resnet import ResNet

MULTIPLE = 32  # pixels: the stride of the deepest features
SKIPS = ("layer3", "layer2", "layer1", "stem", None)  # what each block sees beside its input
FAN_IN = nn.initializers.variance_scaling(2.0, "fan_in", "uniform")  # torch's kaiming_uniform_


class Block(nn.Module):
    """Nearest ×2, the skip beside it, then twice 3×3 convolution, batch norm, ReLU."""

    channels: int
    dtype: Any
    param_dtype: Any
    axis: str | None

    @nn.compact
    def __call__(self, x: jax.Array, skip: jax.Array | None, train: bool) -> jax.Array:
        x = double(x)
        x = x if skip is None else jnp.concatenate([x, skip], axis=-1)
        for name in ("conv1", "conv2"):
            x = nn.Conv(
                self.channels, (3, 3), padding=1, use_bias=False, kernel_init=FAN_IN,
                dtype=self.dtype, param_dtype=self.param_dtype, name=f"{name}_0",
            )(x)  # fmt: skip
            x = batch_norm(x, train, name=f"{name}_1", param_dtype=self.param_dtype, axis=self.axis)
            x = nn.relu(x.astype(self.dtype))
        return x


class Decoder(nn.Module):
    """Five blocks, from stride 32 to the image's own pixels; attributes as `ResNet` has them."""

    width: int
    skips: bool
    dtype: Any
    param_dtype: Any
    axis: str | None

    @nn.compact
    def __call__(self, levels: dict[str, jax.Array], train: bool) -> jax.Array:
        """Maps the encoder's features to [b, h, w, width / 4]."""
        x = levels["layer4"]
        for number, (skip, quarters) in enumerate(zip(SKIPS, (16, 8, 4, 2, 1), strict=True)):
            block = Block(
                channels=max(1, self.width * quarters // 4),
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                axis=self.axis,
                name=f"blocks_{number}",
            )
            x = block(x, levels[skip] if skip and self.skips else None, train)
        return x


class UNet(nn.Module):
    """Encoder, decoder and a 3×3 convolution with bias; parameters of each in a tree of its own.

    Attributes:
      encoder: its width sets the decoder's: 256, 128, 64, 32, 16 channels at 64.
      outputs: channels of the result: classes, or colours.
      skips: whether the decoder sees more of the encoder than its last layer.
      stride: of the result, in pixels of the image.
    """

    encoder: ResNet
    outputs: int
    skips: bool = True
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, frozen: str | None = None) -> jax.Array:
        """Maps images [b, h, w, 3] in [-1, 1] to [b, h / stride, w / stride, outputs], linear.

        The result is in `param_dtype`.

        Args:
          x: the images.
          train: normalise by the batch and update the running statistics.
          frozen: part of the encoder that takes no part in training, see `ResNet`.

        Raises:
          HistoError: a side is no multiple of 32.
        """
        check_side(*x.shape[1:3])
        net = self.encoder
        kind = {"dtype": net.dtype, "param_dtype": net.param_dtype}
        decoder = Decoder(net.width, self.skips, **kind, axis=net.axis, name="decoder")
        x = decoder(net(x, train, frozen), train)
        init = nn.initializers.xavier_uniform()
        head = nn.Conv(
            self.outputs, (3, 3), self.stride, padding=1, kernel_init=init, **kind,
            name="segmentation_head_0",
        )  # fmt: skip
        return head(x).astype(net.param_dtype)


def double(x: jax.Array) -> jax.Array:
    """Each pixel four times: [b, h, w, c] to [b, 2h, 2w, c]."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


def check_side(*sides: int, field: str = "config.image_size") -> None:
    """Refuses images a U-Net can't halve five times; `field` is the option that sets their size.

    Raises:
      HistoError: a side in pixels is no multiple of 32.
    """
    for side in sides:
        if side % MULTIPLE or side < MULTIPLE:
            what = f"is {side}, a U-Net needs a multiple of {MULTIPLE}"
            nearest = max(1, round(side / MULTIPLE)) * MULTIPLE
            raise HistoError(field, "config", what, f"the nearest is {nearest}")


def build_unet(encoder: ResNet, outputs: int, skips: bool = True, stride: int = 1) -> UNet:
    """A U-Net on that encoder, which keeps its parameters under `encoder`."""
    return UNet(encoder, outputs, skips, stride)
