"""One torch thread: two collapse on a shared machine, and sums differ with their number."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("efat", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("efat")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)
