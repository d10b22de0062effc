"""Which windows a plan says mix ids, what each may see, and that the memos of a plan hold what a new one would."""

import itertools
import pickle

import pytest
import torch

from pcpad import PanopticPartialConv2d, PanopticPlan
from pcpad._border import Geometry
from pcpad.panoptic.plan import _compare, _compare_at_once

SIZE = (9, 10)


def blocks(size=SIZE):
    """Two instances side by side on a background."""
    ids = torch.zeros(1, 1, *size, dtype=torch.int64)
    ids[..., 2:7, 1:5], ids[..., 2:7, 5:9] = 26001, 26002
    return ids


def test_what_a_plan_says():
    plan = PanopticPlan.build(blocks(), 3, padding=1)
    ring = 7 * 10 - 3 * 2 - 3 * 2  # all windows that hold or touch an edge: the 7x10 around the blocks but their cores
    assert round(plan.mixed_fraction * 90) == int(plan.mixed.sum()) == ring
    assert plan.count[0, 0, 4, 2].item() == 9
    assert plan.ratio(torch.float64)[0, 0, 0, 0].item() == 9 / 4
    assert plan.mixed_fraction == PanopticPlan.build(blocks(), 3, padding=1, form="dense").mixed_fraction
    assert "size=(9, 10), kernel_size=(3, 3)" in repr(plan)


SETTINGS = [(3, 1, 1, 1), (3, 2, 1, 1), ((1, 5), (1, 2), (0, 4), 1), (3, 1, "same", 2), (5, 1, 0, 1), (1, 1, 2, 1)]


@pytest.mark.parametrize("form", ["rows", "dense"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_valid_count_and_mixed_by_their_definition(setting, form):
    ids = torch.cat([blocks(), torch.randint(0, 3, (1, 1, *SIZE), generator=torch.Generator().manual_seed(0))])
    plan = PanopticPlan.build(ids, *setting, form=form)
    kernel, stride, lead, _, dilation = plan.geometry
    taps = list(itertools.product(*map(range, kernel)))
    for n, i, j in itertools.product(range(2), *map(range, plan.windows)):
        places = [
            tuple(w * s - p + t * d for w, s, p, t, d in zip((i, j), stride, lead, tap, dilation, strict=True))
            for tap in taps
        ]
        on_map = [0 <= y < SIZE[0] and 0 <= x < SIZE[1] for y, x in places]
        center = len(taps) // 2
        valid = [
            ok and on_map[center] and bool(ids[n, 0, y, x] == ids[n, 0, *places[center]])
            for ok, (y, x) in zip(on_map, places, strict=True)
        ]
        assert plan.valid[n, :, i, j].tolist() == valid
        assert plan.count[n, 0, i, j] == sum(valid)
        assert plan.mixed[n, 0, i, j] == (sum(valid) != sum(on_map))
    assert plan.may_be_void == bool((plan.count == 0).any())
    assert plan.batch == 2


def test_ratios_of_some_windows_are_those_of_the_map():
    plan = PanopticPlan.build(blocks(), 3, padding=2)
    windows = plan.table().windows
    some = plan.ratio(torch.float16, at=windows)
    assert some.dtype == torch.float32
    assert torch.equal(some, plan.ratio(torch.float32).flatten(1)[windows.samples, windows.places])
    assert plan.ratio(torch.float64).dtype == torch.float64
    assert plan.ratio(torch.float16) is plan.ratio(torch.float32)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("everywhere", [False, True])
def test_tables_are_kept_and_usable_in_training(transpose, everywhere):
    with torch.inference_mode():
        plan = PanopticPlan.build(blocks(), 3, stride=2, padding=1)
        table = plan.table(transpose=transpose, everywhere=everywhere)
    assert plan.table(transpose=transpose, everywhere=everywhere) is table
    assert not table.taps.is_inference()
    assert (len(table.taps) == (plan.mixed if not transpose else blocks()).numel()) == everywhere


def test_even_kernels_have_no_center():
    with pytest.raises(ValueError, match=r"Expected odd kernel sizes, .* but got \(3, 2\)"):
        PanopticPlan.build(blocks(), (3, 2))


@pytest.mark.faults
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int16, torch.int32, torch.int64, torch.uint32])
@pytest.mark.parametrize(
    "where",
    [
        (3, 1, 1, 1),
        (3, 2, 1, 1),
        (3, 1, 0, 1),
        (5, (2, 1), 2, (1, 3)),
        ((1, 5), 1, (2, 4), 2),
        (3, 2, 4, 1),
        (1, 1, 0, 1),
    ],
    ids=str,
)
def test_all_taps_at_once_are_what_they_are_one_by_one(where, dtype):
    """Padding wider than half of the kernel leaves windows without a center; ids reach to their dtype's ends."""
    torch.manual_seed(0)
    ids = torch.randint(0, 2, (2, 1, 11, 13))
    if dtype != torch.bool:
        ids = torch.where(ids > 0, torch.iinfo(dtype).max, torch.iinfo(dtype).min)
        ids[:, :, 4:7, 2:8] = torch.iinfo(dtype).max - 1
    ids = ids.to(dtype)
    geometry = Geometry.of(2, *where, centered=True)
    windows = geometry.output_size((11, 13))
    for came, wanted in zip(_compare_at_once(ids, geometry, windows), _compare(ids, geometry, windows), strict=True):
        assert came.dtype == wanted.dtype
        assert torch.equal(came, wanted)


# Plans that travel


def mixing(cell, size=(15, 21), batch=2):
    """Random ids in squares of `cell`: the smaller these are, the more windows mix."""
    torch.manual_seed(0)
    ids = torch.randint(0, 9, (batch, 1, *size))
    return ids if cell == 1 else ids.repeat_interleave(cell, 2).repeat_interleave(cell, 3)


def sent(plan):
    return pickle.loads(pickle.dumps(plan))


WAYS = {"pickled": sent, "moved": lambda plan: plan._of(plan._in_one(), torch.clone), "twice": lambda p: sent(sent(p))}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("complete", [True, False], ids=["complete", "not yet"])
@pytest.mark.parametrize(
    ("ids", "stride"), [(mixing(1), 1), (mixing(7), 2), (mixing(9, (2, 3), 1), 1), (blocks() * 0, 1)]
)
def test_a_plan_that_traveled_computes_the_same(way, complete, ids, stride):
    layer = PanopticPartialConv2d(3, 4, 3, stride, 1)
    x = torch.randn(len(ids), 3, *ids.shape[2:], requires_grad=True)

    def results(plan):
        layer.zero_grad()
        x.grad = None
        y = layer(x, plan)
        y.square().sum().backward()
        return [y.detach(), x.grad, layer.weight.grad.clone(), layer.bias.grad.clone()]

    plan = PanopticPlan.build(ids, 3, stride, 1)
    traveled = WAYS[way](plan.complete() if complete else plan)
    before = len(traveled._tables)
    for own, expected in zip(results(traveled), results(ids), strict=True):
        assert torch.equal(own, expected)
    made = {key for key in traveled._tables if not (key[0] and traveled._is_mutual)}
    assert not complete or len(made) <= before, "a table was left to make"
    assert repr(traveled) == repr(plan)


def test_a_plan_travels_in_one_piece():
    """Each tensor would be a file descriptor between two processes, and a copy to a GPU."""
    plan = sent(PanopticPlan.build(mixing(7), 3, padding=1).complete())
    tensors = [plan.valid, plan.count, plan.mixed, plan._mixed.places, *plan._ratios.values(), plan.table().taps]
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
    assert plan.table().windows.places is plan._mixed.places
    assert plan.to("cpu") is plan
    assert plan.to("meta").valid.device.type == "meta"
    plan.ratio(torch.float64)  # what is added later travels too
    assert torch.float64 in sent(plan)._ratios
