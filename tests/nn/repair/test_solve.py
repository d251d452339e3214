"""Ridge solves and the errors they leave, against plain ones."""

import pytest
import torch
from torch import nn

from efat.nn.repair import (
    compensate,
    measure_grams,
)
from efat.nn.repair.remap_costs import CompensatedCosts
from efat.nn.repair.solve import RidgeSystem
from efat.nn.repair.weight_matrices import weight_matrices
from tests.nn.repair.nets import ARRAY, a_map, correlated


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_both_ways_to_solve_are_the_plain_one(rate):
    torch.manual_seed(0)
    rows, weights = torch.randn(2, 60, 12).double(), torch.randn(2, 12, 3).double()
    gram, kept = rows.transpose(1, 2) @ rows, torch.rand(12) >= rate
    system, right = RidgeSystem(gram, 0.01), torch.randn(1, 12, 3).double()
    solved = system.solve(kept, right, torch.tensor([1]))
    left = system.remaining_errors(weights, kept, torch.arange(2))
    made = system.solve_compensation(kept, weights * ~kept[:, None], torch.arange(2))
    for g in range(2):
        damping = 0.01 * gram[g].diagonal().mean()
        matrix = (gram[g] + damping * torch.eye(12))[kept][:, kept]
        if g == 1:
            wanted = torch.zeros(12, 3).double()
            wanted[kept] = torch.linalg.solve(matrix, right[0, kept])
            torch.testing.assert_close(solved[0], wanted)
        difference = -weights[g]
        difference[kept] = torch.linalg.solve(matrix, gram[g][kept][:, ~kept] @ weights[g][~kept])
        torch.testing.assert_close(made[g], torch.where(kept[:, None], difference, 0.0))
        wanted = (difference * (gram[g] @ difference)).sum(0)
        torch.testing.assert_close(left[g], wanted, rtol=1e-8, atol=1e-9)


def test_costs_are_the_errors_that_are_left():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2)), correlated(8, 4, 6, 6)
    fault_map, grams = a_map(4), measure_grams(model, [x])
    (product,) = weight_matrices(model).values()
    surviving = torch.from_numpy(~fault_map.faulty)[torch.arange(18) % ARRAY.rows][None]
    weights = product.matrix(model[0].weight)
    gram = grams.of("0.weight", product)
    costs = CompensatedCosts(weights, gram, True, torch.ones(2, 3), 1e-3).of_columns(surviving)
    repaired = compensate(model, fault_map, ARRAY, grams)
    errors = (repaired(x) - model(x)).double().square().mean(dim=(0, 2, 3)).reshape(2, 3)
    torch.testing.assert_close(errors.detach(), costs[:, range(3), range(3)], rtol=1e-3, atol=1e-7)
