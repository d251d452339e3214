"""Networks: the published sizes, names and accuracies."""

import pytest
import torch
from hydra.utils import instantiate

from efat import EfatError
from efat.config import CONF, compose_jobs
from efat.engine.store import Result, Store
from efat.hardware.mapping import SystolicArray
from efat.models.mobilenet import MobileNetV2
from efat.models.resnet import ResNet
from efat.models.vgg import VGG
from efat.training import Factory
from efat.training.jobs import EvaluationJob
from efat.training.module import unwrap
from efat.training.pretrained import PretrainedWeights
from efat.training.trainer import evaluate
from tests.data.tiny_data import real
from tests.training.specs import spec

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
LARGE = ("resnet50", "vit_tiny")
PUBLISHED = {
    "mlp_vts18": 335_114,  # 784*256 + 2 * 256*256 + 256*10 weights, 778 biases
    "resnet20": 269_722,  # 0.27 M (He et al., 2016, table 6), and below
    "resnet32": 464_154,  # 0.46 M
    "resnet44": 658_586,  # 0.66 M
    "resnet56": 853_018,  # 0.85 M
    "resnet110": 1_727_962,  # 1.7 M
    "resnet18": 11_173_962,  # 11.17 M, as usual for CIFAR-10
    "vgg11_bn": 9_756_426,  # 9.76 M (pytorch-cifar-models), and below
    "vgg16_bn": 15_253_578,  # 15.25 M
    "mobilenet_v2": 2_236_682,  # 2.24 M
    "resnet50": 25_557_032,  # 25.6 M (torchvision)
    "vit_tiny": 5_717_416,  # 5.7 M (DeiT-Ti)
}
INPUTS = {"resnet8": (1, 8, 8), "mlp": (64,), "mlp_vts18": (1, 28, 28)}


def config(name):
    return compose_jobs([f"model={name}"])[0].model


@pytest.mark.parametrize("name", MODELS)
def test_model_contract(name):
    if name in LARGE:
        pytest.importorskip("transformers")
    model = instantiate(config(name))
    count = sum(p.numel() for p in model.parameters())
    assert count == PUBLISHED.get(name, count)
    x = torch.randn(2, *INPUTS.get(name, (3, 224, 224) if name in LARGE else (3, 32, 32)))
    out = unwrap(model(x))
    assert out.shape == (2, 1000 if name in LARGE else 10)
    out.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("resnet20", {"conv1.weight", "layer3.2.bn2.bias", "linear.weight"}),
        ("resnet18", {"layer2.0.downsample.0.weight", "layer4.1.bn2.running_var", "fc.bias"}),
        ("vgg11_bn", {"features.0.bias", "features.26.running_mean", "classifier.6.weight"}),
        ("mobilenet_v2", {"features.0.0.weight", "features.17.conv.3.bias", "classifier.1.bias"}),
    ],
)
def test_names_are_the_fields(name, names):
    assert names <= set(instantiate(config(name)).state_dict())


def test_depths_that_do_not_exist():
    with pytest.raises(EfatError, match=r"model.depth: 9 given; 6n\+2"):
        ResNet(9, 10)
    with pytest.raises(EfatError, match=r"model.depth: 12 given; allowed: 11, 13, 16, 19"):
        VGG(12, 10)


@pytest.mark.parametrize(("width", "millions"), [(0.5, 1.97), (1.4, 6.11)])  # timm's
def test_mobilenet_of_another_width_has_the_published_size(width, millions):
    model = MobileNetV2(1000, width=width)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == millions
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 1000)


def test_a_mobilenet_without_width():
    with pytest.raises(EfatError, match=r"model.width: 0 given"):
        MobileNetV2(10, width=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "file", "accuracy"),
    [(20, "resnet20-12fca82f.th", 0.9173), (32, "resnet32-d509ac18.th", 0.9262)],
)
def test_published_accuracy(depth, file, accuracy, tmp_path):
    """On all 10,000 test images; the few JPEGs among them in this copy may shift it a little."""
    checkpoint = PretrainedWeights.of(str(real("cifar_resnet_weights", file)))
    model, store = ResNet(depth, 10), Store(tmp_path)
    checkpoint.load_into(model)
    store.write("pretrain", "published", Result({}, model.state_dict()))
    values = {"image": "img", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    setup = spec(
        model=Factory("efat.models.ResNet", {"depth": depth, "num_classes": 10}),
        data=Factory("tests.data.tiny_data.CifarTest", {"path": str(real("cifar10")), **values}),
        channels_last=True,
    )
    job = EvaluationJob(setup, ("pretrain", "published"), SystolicArray(64, 64), (None,))
    [found] = evaluate(job, store).values["test"]
    assert found == pytest.approx(accuracy, abs=0.0005)
