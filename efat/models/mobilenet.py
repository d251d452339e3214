"""MobileNetV2 for 32x32 images (Sandler et al., CVPR 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from efat.errors import EfatError

BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),  # stride 2 for ImageNet
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, repeats, first stride (Table 2 of the paper, with CIFAR's strides)."""


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; with a shortcut where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [_convolution(inputs, hidden, 1)] if expansion != 1 else []
        layers += [
            _convolution(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, inputs, h, w] to [batch, outputs, h/stride, w/stride]."""
        out: Tensor = self.conv(x)
        return x + out if self.shortcut else out


class MobileNetV2(nn.Module):
    """MobileNetV2, which halves an image thrice instead of five times.

    Names are torchvision's.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the image.
        width: Width multiplier: channels over those of the paper, to a multiple of 8; the last
            layer's 1,280 grow with it and do not shrink (section 6.1 of the paper).

    Raises:
        EfatError: A width that is not above 0.
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        if not width > 0:
            raise EfatError(f"model.width: {width} given; a number above 0 is needed")
        channels = _scaled(32, width)
        features: list[nn.Module] = [_convolution(in_channels, channels, 3)]  # stride 2 there
        for expansion, outputs, repeats, first_stride in BLOCKS:
            for index in range(repeats):
                stride = 1 if index else first_stride
                scaled = _scaled(outputs, width)
                features.append(InvertedResidual(channels, scaled, stride, expansion))
                channels = scaled
        last = _scaled(1280, max(1.0, width))
        self.features = nn.Sequential(*features, _convolution(channels, last, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, in_channels, h, w] to logits [batch, num_classes]."""
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits


def _scaled(channels: int, width: float) -> int:
    """Return `width` times the channels: the nearest multiple of 8, and not below 0.9 of them."""
    scaled = max(8, int(channels * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * channels * width else scaled
