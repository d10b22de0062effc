"""Sharing samples out over processes, the processes being simulated."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.trainer.connectors.data_connector import _DataConnector
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from pcpad.datamodules.base import UnrepeatedSampler, evaluation_sampler


def numbers(size):
    return TensorDataset(torch.arange(size))


def trainer(world_size, rank=0):
    accelerator = SimpleNamespace(use_distributed_sampler=True, is_distributed=world_size > 1)
    return SimpleNamespace(world_size=world_size, global_rank=rank, _accelerator_connector=accelerator)


@pytest.mark.parametrize(("size", "world_size"), [(2, 2), (5, 2), (8, 2), (3, 3), (5, 3), (7, 3), (5, 4), (8, 4)])
def test_every_sample_goes_to_exactly_one_process(size, world_size):
    seen = []
    for rank in range(world_size):
        sampler = evaluation_sampler(numbers(size), trainer(world_size, rank))
        loader = DataLoader(numbers(size), batch_size=2, sampler=sampler)
        share = torch.cat([batch for (batch,) in loader]).tolist()
        assert len(share) == len(sampler)
        assert share == sorted(share)
        seen += share
    assert sorted(seen) == list(range(size))


def test_torchs_own_sampler_repeats_which_is_why_there_is_another():
    assert sum(len(DistributedSampler(numbers(5), num_replicas=2, rank=rank)) for rank in range(2)) == 6
    assert sum(len(UnrepeatedSampler(numbers(5), num_replicas=2, rank=rank)) for rank in range(2)) == 5


def test_lightning_leaves_it_in_place():
    simulated = trainer(2)
    connector = _DataConnector(simulated)
    loader = DataLoader(numbers(5), sampler=evaluation_sampler(numbers(5), simulated))
    assert not connector._requires_distributed_sampler(loader)
    assert connector._requires_distributed_sampler(DataLoader(numbers(5)))


def test_one_process_needs_no_sampler():
    assert evaluation_sampler(numbers(5), trainer(1)) is None
    assert evaluation_sampler(numbers(5), None) is None


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_fewer_samples_than_processes_stops_every_process(rank):
    with pytest.raises(ValueError, match=r"2 images cannot be shared out over 3 processes.*--trainer\.devices 2"):
        evaluation_sampler(numbers(2), trainer(3, rank))
