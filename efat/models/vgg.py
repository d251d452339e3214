"""VGG with batch normalisation for 32x32 images (Simonyan & Zisserman, 2015)."""

from __future__ import annotations

from torch import Tensor, nn

from efat.errors import EfatError

STAGES = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
"""Convolutions a stage, by depth: configurations A, B, D and E of the paper."""

WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """VGG whose classifier starts from 512 features, as is usual for CIFAR; torchvision's names.

    Args:
        depth: 11, 13, 16 or 19.
        num_classes: Outputs.
        in_channels: Channels of the image, whose sides are 32 pixels.

    Raises:
        EfatError: Another depth.
    """

    def __init__(self, depth: int, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        if depth not in STAGES:
            raise EfatError(f"model.depth: {depth} given; allowed: {', '.join(map(str, STAGES))}")
        layers: list[nn.Module] = []
        channels = in_channels
        for count, width in zip(STAGES[depth], WIDTHS, strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)]
                layers.append(nn.ReLU(inplace=True))
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(512, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # as in torchvision; torch's default learns slowly
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, in_channels, 32, 32] to logits [batch, num_classes]."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits
