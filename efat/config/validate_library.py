"""Check that new chips fit a library: same network, array and constraint, unused names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from efat.campaign import Experiment, Library, identity, read_library
from efat.engine import Store
from efat.errors import EfatError, raise_problems

MADE_FOR = (
    "seed",
    "model",
    "data",
    "task",
    "array",
    "baseline",
    "hardening",
    "training.optimizer",
    "training.scheduler",
    "training.frozen",
    "training.lr_factors",
    "training.batch_norm",
    "recipe",
    "trainer",
    "selection.max_drop",
    "selection.limit",
)
"""Keys that a model depends on beside its fault map and amount."""


def check_library(cfg: DictConfig, experiment: Experiment) -> Library:
    """Return the library that `cfg.library` names, if the fleet can be assigned to it.

    Raises:
        EfatError: No library in that folder, another array, network or constraint, a chip's name in
            use for another fault map, or weights that the store does not hold.
    """
    if cfg.library is None:
        raise EfatError(
            "library: not given; stage=assign needs the folder of a run that planned or retrained: "
            "set library=..."
        )
    folder = Path(cfg.library)
    library = read_library(folder)
    raise_problems(_network_problems(cfg, experiment, library, folder))
    raise_problems(
        [*_name_problems(experiment, library), *_weight_problems(library, Store(Path(cfg.store)))]
    )
    return library


def _network_problems(
    cfg: DictConfig, experiment: Experiment, library: Library, folder: Path
) -> Iterator[str]:
    rows, cols = library.chips[0].fault_map.shape
    array = experiment.array
    if (rows, cols) != (array.rows, array.cols):
        yield (
            f"library: {folder} is for arrays of {rows}x{cols} PEs; the array has "
            f"{array.rows}x{array.cols}; set array.rows and array.cols, or name another library"
        )
    elif library.compatibility_hash != identity(experiment):
        differences = "; ".join(_differences(cfg, folder / "config.yaml"))
        yield (
            f"library: the models in {folder} are of another network, training or constraint "
            f"({differences or 'made with another version of torch or efat'}); give the same keys, "
            "or name another library"
        )


def _differences(cfg: DictConfig, path: Path) -> Iterator[str]:
    """Yield the keys that differ from those of the library's run."""
    if not path.is_file():
        return
    theirs = OmegaConf.load(path)
    for key in MADE_FOR:
        ours, other = (dict(_leaves(key, OmegaConf.select(c, key))) for c in (cfg, theirs))
        for name in sorted({*ours, *other}):
            if ours.get(name) != other.get(name):
                yield f"{name}: {ours.get(name)} given, {other.get(name)} in the library"


def _leaves(key: str, node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, DictConfig):
        for name, value in node.items():
            yield from _leaves(f"{key}.{name!s}", value)
    else:
        yield key, node


def _name_problems(experiment: Experiment, library: Library) -> Iterator[str]:
    known = {chip.chip_id: chip.fault_map for chip in library.chips}
    for chip in experiment.fleet:
        if known.get(chip.chip_id, chip.fault_map) != chip.fault_map:
            yield (
                f"chip {chip.chip_id!r}: the library has a chip of this name with another fault "
                "map; give the new one a name of its own"
            )


def _weight_problems(library: Library, store: Store) -> Iterator[str]:
    for entry in library.entries:
        if entry.weights is not None and store.read(*entry.weights) is None:
            yield (
                f"library: the weights of {entry.model.name} are not in the store {store.root}, or "
                "damaged there; set store= to that of the run that made the library"
            )
