"""What processes tell each other."""

import json

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from pcpad.distributed import averaged, gathered, in_turns


def test_one_process_hears_itself():
    assert gathered({"a": 1}) == [{"a": 1}]
    assert averaged(torch.tensor([1.0, 2.0], requires_grad=True)).tolist() == [1.0, 2.0]


def test_turns_of_unequally_many():
    assert in_turns([[0, 3, 6], [1, 4], [2, None]]) == [0, 1, 2, 3, 4, None, 6]
    assert in_turns([[], [1]]) == [1]
    assert in_turns([]) == []


def _process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        parts = gathered([rank] * (rank + 1))  # of unequal sizes
        own = torch.tensor([1.0, 4.0 * rank])
        mean = averaged(own).tolist(), own.tolist()
    finally:
        dist.destroy_process_group()
    (folder / f"{rank}.json").write_text(json.dumps([parts, mean]))


@pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")
def test_every_process_hears_all_by_rank(tmp_path):
    torch.multiprocessing.start_processes(_process, (tmp_path,), nprocs=2, start_method="fork")
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert [parts for parts, _ in found] == [[[0], [1, 1]]] * 2
    assert [mean for _, mean in found] == [[[1.0, 2.0], [1.0, 0.0]], [[1.0, 2.0], [1.0, 4.0]]]  # the own one is left
