"""The Gram matrices of a network's layer inputs: measured once, used for every chip."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from efat.errors import EfatError
from efat.nn.lowering import run_layer
from efat.nn.masking import mapped_layers
from efat.nn.masking.activations import keep_dense
from efat.nn.repair.batch_norm import following_norms
from efat.nn.repair.gram import LARGEST, Gram, block_size
from efat.nn.repair.moments import Moments, lowered_pieces
from efat.nn.repair.weight_matrices import WeightMatrix, join, split_key, weight_matrices


@dataclass(frozen=True)
class Grams:
    """Gram matrices of a network, and the BatchNorm layers that follow its weights.

    Args:
        by_weight: By parameter name.
        norms: Name of the BatchNorm by parameter name, for weights that one follows directly.
    """

    by_weight: dict[str, Gram]
    norms: dict[str, str]

    def of(self, name: str, product: WeightMatrix) -> Gram:
        """Return the Gram matrix of a weight; raise `EfatError` if it is of another network."""
        if name not in self.by_weight:
            raise EfatError(f"grams: none for {name!r}; measure them with this model and off_array")
        gram, inputs = self.by_weight[name], tuple(product.positions.shape[:2])
        if gram.covariance.shape[:2] != inputs:
            raise EfatError(
                f"grams: {tuple(gram.covariance.shape[:2])} groups and inputs for {name!r}, which "
                f"has {inputs}; measure them with this model"
            )
        return gram

    @property
    def blocked(self) -> dict[str, int]:
        """Number of blocks by parameter name, if there are several: then repair is approximate."""
        counts = {name: len(gram.cuts) for name, gram in self.by_weight.items()}
        return {name: count for name, count in counts.items() if count > 1}

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by their names in files; `of_tensors` is the inverse."""
        return {
            f"{kind}/{name}": part.contiguous()
            for name, gram in self.by_weight.items()
            for kind, part in vars(gram).items()
            if part is not None
        }

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor], norms: dict[str, str]) -> Grams:
        """Build the Gram matrices from the result of `tensors`."""
        names = [key.removeprefix("mean/") for key in tensors if key.startswith("mean/")]
        grams = {
            n: Gram(tensors[f"mean/{n}"], tensors[f"covariance/{n}"], tensors.get(f"rows/{n}"))
            for n in names
        }
        return cls(grams, norms)

    def save(self, path: Path) -> None:
        """Write a safetensors file, without pickle."""
        safetensors.torch.save_file(self.tensors(), path, {"norms": json.dumps(self.norms)})

    @classmethod
    def load(cls, path: Path) -> Grams:
        """Read a file that `save` wrote; raise `EfatError` for any other file."""
        try:
            with safetensors.safe_open(path, "pt") as file:
                norms = json.loads((file.metadata() or {})["norms"])
            return cls.of_tensors(safetensors.torch.load_file(path), norms)
        except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
            raise EfatError(f"grams: {path}: not a file of Gram matrices ({error})") from None


@torch.no_grad()
def measure_grams(
    model: nn.Module,
    batches: Iterable[Any],
    off_array: Collection[str] = (),
    *,
    largest: int = LARGEST,
) -> Grams:
    """Measure the Gram matrices of a fault-free network's layer inputs.

    Memory: one K x K float64 matrix per group of each layer (K x `largest` for more inputs than
    that, and up to `LARGEST` rows of K in float32), one more of the largest layer, the activations
    of one batch and one piece of an im2col matrix (4 MB). It does not grow with the batches.

    Args:
        model: The network; it is run in evaluation mode and not changed.
        batches: Its inputs, or (inputs, targets) pairs, from the training data.
        off_array: Names of layers that are not on the array.
        largest: Inputs of the largest whole matrix; layers with more are cut into blocks of whole
            channels, and covariances between blocks are not measured.

    Raises:
        EfatError: No batch, a layer that does not run, or layers that do not map.
    """
    runner = copy.deepcopy(model).eval()
    keep_dense(runner)
    products, norms = weight_matrices(runner, off_array), None
    moments = {name: _new_moments(product, largest) for name, product in products.items()}
    hooks = []
    for batch in batches:
        inputs = inputs_of(batch)
        if norms is None:
            norms = following_norms(runner, products, inputs[:1])
            hooks = [
                layer.register_forward_hook(partial(_record, moments, name), with_kwargs=True)
                for name, layer in mapped_layers(runner, off_array).items()
            ]
        runner(inputs)
    if norms is None:
        raise EfatError("grams: no batch given; a few hundred training samples are needed")
    for hook in hooks:
        hook.remove()
    return Grams({name: _finish(name, moments.pop(name)) for name in products}, norms)


def inputs_of(batch: Any) -> Tensor:
    """Return the inputs of a batch, which may be an (inputs, targets) pair."""
    inputs: Tensor = batch[0] if isinstance(batch, tuple | list) else batch
    return inputs


def _new_moments(product: WeightMatrix, largest: int) -> list[Moments]:
    """Return one `Moments` for all groups, or one per projection of a stacked attention."""
    groups, k, _ = product.positions.shape
    device, size = product.weight.tensor.device, block_size(k, product.taps, largest)
    if isinstance(product.weight.layer, nn.MultiheadAttention):
        return [Moments(1, k, 0, device, size) for _ in range(groups)]
    return [Moments(groups, k, 0, device, size)]


def _finish(name: str, parts: list[Moments]) -> Gram:
    if not all(part.rows for part in parts):
        raise EfatError(f"grams: {name!r} did not run; name its layer in off_array")
    samples = [part.sample.rows for part in parts if part.sample]
    count = min(
        (rows.shape[1] for rows in samples), default=0
    )  # attention: keys, queries may differ
    return Gram(
        _joined([part.mean for part in parts]),
        _joined([part.covariance for part in parts]),
        _joined([rows[:, :count] for rows in samples]) if samples else None,
    )


def _joined(parts: list[Tensor]) -> Tensor:
    """Return the groups of all parts; a single part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _record(
    moments: dict[str, list[Moments]], prefix: str, layer: Any, args: Any, kwargs: Any, _: Any
) -> None:
    """Add the inputs of a layer to its moments (a forward hook)."""

    def multiply(name: str, x: Tensor, weights: Tensor) -> Tensor:
        key, group = split_key(join(prefix, name))
        if key in moments:
            moments[key][group][0].add(x.flatten(2))
        return x.flatten(2) @ weights.flatten(1, 2)

    if isinstance(layer, nn.MultiheadAttention):
        run_layer(layer, args, kwargs, multiply)
        return
    x = batched(layer, args[0] if args else kwargs["input"])
    (recorded,) = moments[join(prefix, "weight")]
    for _samples, rows in lowered_pieces(layer, x, recorded.total.shape[1]):
        recorded.add(rows)


def batched(layer: Any, x: Tensor) -> Tensor:
    """Return a layer's input with a batch dimension."""
    dims = 2 if isinstance(layer, nn.Linear) else len(layer.kernel_size) + 2
    return x.unsqueeze(0) if x.dim() < dims else x
