"""torchvision's ResNet in plain torch, for machines with torch and without torchvision."""

import torch
from torch import nn

from histo_jax.models import ENCODERS


def conv(before: int, after: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)


class Block(nn.Module):
    """torchvision's BasicBlock or Bottleneck, its names and the order it registers them in."""

    def __init__(self, before: int, inner: int, stride: int, bottleneck: bool):
        super().__init__()
        out = 4 * inner if bottleneck else inner
        kernels = [(1, 1, inner), (3, stride, inner), (1, 1, out)]
        if not bottleneck:
            kernels = [(3, stride, inner), (3, 1, out)]
        self.depth, channels = len(kernels), before
        for i, (kernel, step, after) in enumerate(kernels, 1):
            setattr(self, f"conv{i}", conv(channels, after, kernel, step))
            setattr(self, f"bn{i}", nn.BatchNorm2d(after))
            channels = after
        self.downsample = None
        if stride != 1 or before != out:
            self.downsample = nn.Sequential(conv(before, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x
        for i in range(1, self.depth + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            if i < self.depth:
                y = torch.relu(y)
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """`name` is one of our encoders; `fc` is there as in torchvision."""

    def __init__(self, name: str, width: int = 64):
        super().__init__()
        stages, bottleneck = ENCODERS[name]
        self.conv1, self.bn1 = conv(3, width, 7, 2), nn.BatchNorm2d(width)
        before = width
        for stage, blocks in enumerate(stages):
            inner, layer = width * 2**stage, []
            for block in range(blocks):
                layer.append(Block(before, inner, 2 if stage and not block else 1, bottleneck))
                before = 4 * inner if bottleneck else inner
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(before, 1000)

    def levels(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Images [b, 3, h, w] to every level, as our encoder names them."""
        out = {"stem": torch.relu(self.bn1(self.conv1(x)))}
        x = nn.functional.max_pool2d(out["stem"], 3, 2, 1)
        for stage in range(1, 5):
            x = out[f"layer{stage}"] = getattr(self, f"layer{stage}")(x)
        return out | {"pooled": x.mean((2, 3))}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.levels(x)["pooled"])


def resnet18() -> ResNet:
    """As torchvision.models.resnet18."""
    return ResNet("resnet18")
