"""Apply the repair steps of a recipe to a masked network, before any retraining."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from efat.engine import Result, Store
from efat.errors import EfatError
from efat.hardware import FaultMap, Placement, SystolicArray
from efat.nn.masking import mask_model
from efat.nn.repair import (
    Grams,
    compensate,
    compensate_sequentially,
    has_statistics,
    recalibrate,
    remap,
    rescale,
)
from efat.nn.repair import measure_grams as measure_model_grams
from efat.training.jobs import GramJob, RepairSpec, TrainSpec
from efat.training.loading import calibration_batches, load_model

BATCH = 128
"""Samples per batch in `recalibrate`, which normalises each batch by its own statistics."""


def measure_grams(job: GramJob, store: Store) -> Result:
    """Measure the Gram matrices of the fault-free network; the result holds them as tensors.

    Returns:
        Values `norms` and `blocks` (see `efat.nn.repair.Grams`), `samples` that were passed
        forward, `elapsed_s`.
    """
    begin, sizes = time.perf_counter(), list[int]()

    def counted() -> Iterator[Tensor]:
        for inputs in calibration_batches(job.setup, job.samples, job.seed):
            sizes.append(len(inputs))
            yield inputs

    model = load_model(job.setup, store, job.start)
    grams = measure_model_grams(model, counted(), job.setup.off_array)
    elapsed_s = time.perf_counter() - begin
    values = {"norms": grams.norms, "blocks": grams.blocked}
    return Result(values | {"samples": sum(sizes), "elapsed_s": elapsed_s}, grams.tensors())


def apply_repair(
    model: nn.Module,
    fault_map: FaultMap,
    array: SystolicArray,
    repair: RepairSpec,
    setup: TrainSpec,
    store: Store,
) -> tuple[nn.Module, Placement | None]:
    """Return a masked, repaired copy of the fault-free network, and its weights' placement."""
    off_array, placement = setup.off_array, None
    if "remap" in repair.steps:
        grams = _load_grams(store, repair)
        rows = repair.remap == "rows_and_columns"
        placement = remap(model, fault_map, array, grams, rows=rows, off_array=off_array)
    if "compensate" not in repair.steps:
        repaired = mask_model(copy.deepcopy(model).eval(), fault_map, array, off_array, placement)
    elif repair.mode == "sequential":
        repaired = compensate_sequentially(
            model,
            fault_map,
            array,
            _calibration_set(setup, repair),
            placement=placement,
            off_array=off_array,
        )
    else:
        grams = _load_grams(store, repair)
        repaired = compensate(
            model, fault_map, array, grams, placement=placement, off_array=off_array
        )
    if "recalibrate" in repair.steps:
        inputs = _calibration_set(setup, repair)
        if has_statistics(repaired):
            repaired = recalibrate(repaired, inputs.split(BATCH))
        else:
            repaired = rescale(model, repaired, inputs, off_array)
    return repaired, placement


def _load_grams(store: Store, repair: RepairSpec) -> Grams:
    if repair.grams is None:
        raise EfatError("recipe: no Gram matrices were measured for it")
    result = store.read(*repair.grams)
    if result is None:
        raise EfatError(f"recipe: the Gram matrices {repair.grams[1][:12]} are not in {store.root}")
    return Grams.of_tensors(store.weights(*repair.grams), result.values["norms"])


def _calibration_set(setup: TrainSpec, repair: RepairSpec) -> Tensor:
    return torch.cat(list(calibration_batches(setup, repair.samples, repair.seed)))
