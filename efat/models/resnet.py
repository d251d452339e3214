"""ResNets for small images (He et al., 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from efat.errors import EfatError


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        stride: Of the first convolution.
        projected: Where the shape changes, the shortcut is a 1x1 convolution (option B); else it
            has no parameters (option A).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, projected: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.new_channels = outputs - inputs
        self.downsample: nn.Module | None = None
        if projected and (stride != 1 or inputs != outputs):
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, inputs, h, w] to [batch, outputs, h/stride, w/stride]."""
        out = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(out)) + self._shortcut(x))

    def _shortcut(self, x: Tensor) -> Tensor:
        """Option A takes every stride-th pixel and pads new channels with zeros on both sides."""
        if self.downsample is not None:
            projected: Tensor = self.downsample(x)
            return projected
        if self.stride == 1 and self.new_channels == 0:
            return x
        x = x[:, :, :: self.stride, :: self.stride]
        before = self.new_channels // 2
        return functional.pad(x, (0, 0, 0, 0, before, self.new_channels - before))


class ResNet(nn.Module):
    """ResNet of `depth` = 6n+2 layers (section 4.2), shortcuts without parameters.

    Its three stages have `width`, 2 and 4 times `width` channels.

    Args:
        depth: 8, 14, 20, 32, 44, 56, 110, ...
        num_classes: Outputs.
        in_channels: Channels of the image.
        width: Channels of the first stage; 16 in the paper.

    Raises:
        EfatError: A depth that is not 6n+2.
    """

    def __init__(self, depth: int, num_classes: int, in_channels: int = 3, width: int = 16) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if blocks < 1 or rest:
            raise EfatError(f"model.depth: {depth} given; 6n+2 (8, 14, 20, 32, ...) is needed")
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(width, width, blocks, stride=1)
        self.layer2 = _stage(width, 2 * width, blocks, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, blocks, stride=2)
        self.linear = nn.Linear(4 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, in_channels, h, w] to logits [batch, num_classes]."""
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        logits: Tensor = self.linear(out.mean(dim=(2, 3)))
        return logits


class ResNet18(nn.Module):
    """ResNet-18 (section 4.1) whose first convolution is 3x3 with stride 1, without pooling.

    That is the usual stem for 32x32 images. Names of layers are those of torchvision.

    Args:
        num_classes: Outputs.
        in_channels: Channels of the image.
    """

    def __init__(self, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, 2, stride=1, projected=True)
        self.layer2 = _stage(64, 128, 2, stride=2, projected=True)
        self.layer3 = _stage(128, 256, 2, stride=2, projected=True)
        self.layer4 = _stage(256, 512, 2, stride=2, projected=True)
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [batch, in_channels, h, w] to logits [batch, num_classes]."""
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        logits: Tensor = self.fc(out.mean(dim=(2, 3)))
        return logits


def _stage(
    inputs: int, outputs: int, blocks: int, stride: int, projected: bool = False
) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride, projected)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))
