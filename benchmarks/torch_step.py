"""The same training step in PyTorch: net, head, loss; the optimizer costs less than ours."""

import sys
from collections.abc import Generator
from pathlib import Path

import torch
from torch import nn

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.torch_resnet import ResNet


class Net(nn.Module):
    """An encoder, SimCLR's head of two layers with batch norm, both views in one pass."""

    def __init__(self, encoder: str, width: int):
        super().__init__()
        self.encoder = ResNet(encoder, width)
        features = self.encoder.fc.in_features
        self.encoder.fc = nn.Identity()
        self.head = nn.Sequential(
            nn.Linear(features, features, bias=False), nn.BatchNorm1d(features), nn.ReLU(),
            nn.Linear(features, 128, bias=False), nn.BatchNorm1d(128),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x))


def ntxent(z: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    """Of [2n, d], the views of an image n rows apart."""
    u = nn.functional.normalize(z.float())
    logits = u @ u.T / temperature
    logits = logits.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), -torch.inf)
    partner = torch.arange(len(z), device=z.device).roll(len(z) // 2)
    return nn.functional.cross_entropy(logits, partner)


def steps(
    encoder: str, width: int, dtype: str, batch: int, size: int, *, together: int
) -> Generator[int]:
    """Endless counts of images; `together` steps before the device is waited for."""
    gpu = torch.cuda.is_available()
    device, kind = ("cuda" if gpu else "cpu"), getattr(torch, dtype)
    torch.set_float32_matmul_precision("high")
    net = Net(encoder, width).to(device, memory_format=torch.channels_last).train()
    forward = torch.compile(net) if gpu else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.03, momentum=0.9, weight_decay=1e-6)
    views = torch.rand(2 * batch, 3, size, size, device=device) * 2 - 1
    views = views.contiguous(memory_format=torch.channels_last)
    while True:
        for _ in range(together):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, kind, enabled=gpu and kind != torch.float32):
                z = forward(views)
            ntxent(z).backward()
            optimizer.step()
        if gpu:
            torch.cuda.synchronize()
        yield together * batch
