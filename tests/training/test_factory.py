import linecache
import pickle
import sys
import types
from functools import partial

import pytest
import torch
from torch import nn

from efat import EfatError
from efat.engine import content_key
from efat.models import MLP
from efat.training import Factory
from efat.training.factory import public_name


def network(sizes, activation=nn.ReLU, norm=None):
    return nn.Sequential(nn.Linear(*sizes), activation(), *([norm(sizes[1])] if norm else []))


def test_a_partial_and_a_node_make_equal_objects_and_keys():
    node = {"_target_": "efat.models.MLP", "sizes": [64, 32, 10]}
    (by_partial, by_node) = Factory.of(partial(MLP, sizes=[64, 32, 10])), Factory.from_node(node)
    for factory in (by_partial, by_node, pickle.loads(pickle.dumps(by_node))):
        assert [len(weight) for weight in factory().state_dict().values()] == [32, 32, 10, 10]
    assert by_node.content() == node
    assert by_partial.content() == {**node, "_partial_": True}
    other = Factory.of(partial(MLP, sizes=[64, 16, 10]))
    assert len({content_key("train", f) for f in (by_partial, by_node, other)}) == 3


def test_nested_callables_stay_callables_and_nested_nodes_are_built():
    factory = Factory.of(partial(network, [4, 8], nn.Tanh, norm=partial(nn.BatchNorm1d, eps=0.5)))
    linear, tanh, norm = pickle.loads(pickle.dumps(factory))()
    assert (linear.out_features, type(tanh), norm.eps) == (8, nn.Tanh, 0.5)
    assert content_key("train", factory)
    inner = {"_target_": "datetime.timedelta", "_args_": [2]}
    late = {"_target_": "builtins.int", "_partial_": True, "base": 2}
    node = {"_target_": "builtins.dict", "a": {"b": [inner]}, "c": late}
    built = Factory.from_node(node)()
    assert (built["a"]["b"][0].days, built["c"]("11")) == (2, 3)
    assert Factory.from_node({**node, "_recursive_": False})() == {"a": {"b": [inner]}, "c": late}


def test_an_optimizer_takes_its_parameters_later():
    weights = [nn.Parameter(torch.ones(1))]
    factory = Factory.of(partial(torch.optim.SGD, lr=0.5))
    assert factory.target == "torch.optim.SGD"
    assert factory.value()(weights).defaults["lr"] == factory(weights).defaults["lr"] == 0.5


def test_names_are_the_shortest_that_can_be_imported():
    assert public_name(nn.MSELoss) == "torch.nn.MSELoss"
    assert public_name(network) == "tests.training.test_factory.network"
    assert public_name(Factory.from_node) == "efat.training.Factory.from_node"


def local():
    class Net(nn.Module):
        pass

    return Net


@pytest.mark.parametrize("item", [lambda: None, local(), nn.ReLU(), None, 3])
def test_what_no_process_can_import_is_refused(item):
    with pytest.raises(EfatError, match="use a class, a function that a module defines"):
        Factory.of(item)
    with pytest.raises(EfatError, match="use a class, a function that a module defines"):
        Factory.of(partial(network, activation=(lambda: None), sizes=[1, 1]))


@pytest.mark.parametrize("target", ["efat.models.Mlp", "nowhere.Net", "efat.models", "Net"])
def test_an_unknown_target_is_named(target):
    with pytest.raises(EfatError, match=f"{target}: no such class or function"):
        Factory(target)()


CELL = """
WIDTH = {width}
def hidden():
    return WIDTH
class Block(nn.Linear):
    def forward(self, x):
        return {forward}
class Net(nn.Sequential):
    def __init__(self):
        super().__init__(Block(4, hidden()))
"""


@pytest.fixture
def notebook(monkeypatch):
    """Run a cell as IPython does: in a `__main__` without a file, lines known to linecache."""

    def run(name, **values):
        main, cell = types.ModuleType("__main__"), CELL.format(**values)
        main.nn = nn
        monkeypatch.setitem(sys.modules, "__main__", main)
        monkeypatch.setitem(linecache.cache, name, (len(cell), None, cell.splitlines(True), name))
        exec(compile(cell, name, "exec"), main.__dict__)
        return Factory.of(main.Net)

    return run


def test_an_edited_class_of_a_notebook_has_another_key(notebook):
    plain = {"width": 8, "forward": "super().forward(x)"}
    factory = notebook("<cell 1>", **plain)
    assert factory()[0].out_features == 8
    again, wider = notebook("<cell 2>", **plain), notebook("<cell 3>", **plain | {"width": 9})
    other = notebook("<cell 4>", **plain | {"forward": "-x"})
    assert again == factory
    assert len({factory.content()["_source_"], wider.source, other.source}) == 3


def test_a_class_without_source_is_refused(monkeypatch):
    main = types.ModuleType("__main__")
    exec("class Net(dict): pass", main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(EfatError, match="Net given; its source cannot be read"):
        Factory.of(main.Net)
    del main.Net
    with pytest.raises(EfatError, match="executor=serial"):
        Factory("__main__.Net")
