"""Networks that come with efat.

Imports `errors`. A network is one file here and one YAML in `conf/model/`.
"""

from efat.models.mlp import MLP
from efat.models.mobilenet import MobileNetV2
from efat.models.resnet import ResNet, ResNet18
from efat.models.vgg import VGG

__all__ = ["MLP", "VGG", "MobileNetV2", "ResNet", "ResNet18"]
