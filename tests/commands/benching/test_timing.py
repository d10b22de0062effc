"""A device that cannot be used is refused in a sentence that names those that there are."""

import pytest
import torch

from pcpad.commands.benching.timing import device_named
from pcpad.errors import UserValueError


@pytest.mark.faults
@pytest.mark.parametrize("name", ["gpu", "mps", "xpu", "cuda:99", ""])
def test_one_that_is_not_there_is_refused_without_torch_s_own_words(name):
    if name in ("mps", "xpu") and torch.accelerator.is_available():
        pytest.skip("it may be there")
    with pytest.raises(UserValueError, match=f"^--device {name} cannot be used here: .*; there is cpu") as error:
        device_named(name)
    assert len(str(error.value)) < 200
    for word in ("Facebook", "aten::", "privateuseone"):
        assert word not in str(error.value)


def test_the_cpu_is_always_there():
    assert device_named("cpu") == torch.device("cpu")
