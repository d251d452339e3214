"""Train a fault-free network to tolerate faults: a new fault map each step, its own outputs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from efat.hardware import FaultMap, SystolicArray, pruned_weights
from efat.hardware.fleets import draw_fault_map
from efat.nn.masking import mapped_weights
from efat.seeds import generator
from efat.training.jobs import TrainingJob
from efat.training.module import Batch, FaultAwareModule, unwrap, with_signature


class HardeningModule(FaultAwareModule):
    """Train a network to give, under random faults, the outputs that it gave without any.

    Each optimizer step has its own fault map, of a uniform random rate; weights on its faulty PEs
    are 0 in the forward pass and get no gradient, but are not set to 0 (as in DropConnect, Wan et
    al., 2013). The loss is the Kullback-Leibler divergence from the start network's probabilities,
    or, where targets are no classes, the task's own loss to its outputs: no label is used.

    See `FaultAwareModule` for the arguments, `harden` for the rest.
    """

    def harden(self, job: TrainingJob, array: SystolicArray) -> HardeningModule:
        """Keep a copy of the network as the teacher, and the job for its rates and seed."""
        self.job, self.array = job, array
        self.classes = job.setup.num_classes is not None
        self.teacher = (copy.deepcopy(self.model).eval().requires_grad_(False),)  # not a submodule
        return self

    @with_signature
    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, _ = batch
        [teacher] = self.teacher
        with torch.no_grad():
            wanted = unwrap(teacher.to(inputs.device)(inputs))
        outputs = unwrap(functional_call(self.model, self._surviving(), (inputs,)))
        if not self.classes:
            return self.loss(outputs, wanted)
        log_shares, wanted = outputs.log_softmax(1), wanted.log_softmax(1)
        divergence = functional.kl_div(log_shares, wanted, reduction="none", log_target=True)
        return divergence.sum(1).mean()

    def _surviving(self) -> dict[str, Tensor]:
        """Return the weights on the array; those on faulty PEs of this step's fault map are 0."""
        faults = step_map(self.job, self.array, self.trainer.global_step)
        surviving = {}
        for name, weight in mapped_weights(self.model, self.job.setup.off_array).items():
            healthy = torch.from_numpy(~pruned_weights(weight.layout, self.array, faults))
            surviving[name] = weight.tensor * healthy.to(weight.tensor)
        return surviving


def step_map(job: TrainingJob, array: SystolicArray, step: int) -> FaultMap:
    """Draw the fault map of a step; each step has its own stream, so that training can resume."""
    low, high = job.hardening or (0.0, 0.0)
    rng = generator(job.seed, "harden", step)
    return draw_fault_map(array, float(rng.uniform(low, high)), rng)
