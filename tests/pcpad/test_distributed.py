"""What processes tell each other."""

import json

import pytest
import torch.distributed as dist
import torch.multiprocessing

from pcpad.distributed import gathered


def test_one_process_hears_itself():
    assert gathered({"a": 1}) == [{"a": 1}]


def _process(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        parts = gathered([rank] * (rank + 1))  # of unequal sizes
    finally:
        dist.destroy_process_group()
    (folder / f"{rank}.json").write_text(json.dumps(parts))


@pytest.mark.skipif(not dist.is_available(), reason="torch without torch.distributed")
def test_every_process_hears_all_by_rank(tmp_path):
    torch.multiprocessing.start_processes(_process, (tmp_path,), nprocs=2, start_method="fork")
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [[[0], [1, 1]]] * 2
