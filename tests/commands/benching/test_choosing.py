"""The faster kernel is chosen, by a timer that is told what to find."""

import pytest
import torch

from pcpad import kernels
from pcpad.commands import bench
from pcpad.commands.benching import choosing
from pcpad.commands.benching.choosing import Case, choose
from pcpad.errors import UserRuntimeError, UserValueError
from pcpad.layers import PartialConv2d

CASES = (Case(1, 4, 7), Case(2, 4, 9, torch.bfloat16, bias=True, training=True))


@pytest.fixture(autouse=True)
def both_are_torch_s(monkeypatch):
    monkeypatch.setattr(kernels, "_has_triton", lambda: True)
    kernels.set_border_kernel(None)
    yield
    kernels.set_border_kernel(None)


def timer(triton, *, calls_each=False):
    def times(calls, rounds, *, device):
        if calls_each:
            for call in calls.values():
                call()
        return {"torch": [1.0] * rounds, "triton": [triton(index) for index in range(rounds)]}

    return times


def test_triton_is_chosen_where_its_interval_is_below_1():
    choice = choose(torch.device("cpu"), 5, cases=CASES, timer=timer(lambda _: 0.8, calls_each=True))
    assert choice.kernel == "triton"
    assert choice.ratio == pytest.approx((0.8, 0.8, 0.8))
    assert [case for case, _ in choice.of_cases] == list(CASES)


@pytest.mark.parametrize("triton", [lambda _: 1.0, lambda _: 1.3, lambda index: 0.7 if index % 2 else 1.2])
def test_torch_is_kept_where_that_is_in_doubt(triton):
    assert choose(torch.device("cpu"), 9, cases=CASES, timer=timer(triton)).kernel == "torch"


def test_calls_are_made_by_the_kernel_that_they_are_named_after(monkeypatch):
    seen, own = [], PartialConv2d.forward

    def watched(self, x):
        seen.append(kernels.border_kernel("cuda"))
        return own(self, x)

    monkeypatch.setattr(PartialConv2d, "forward", watched)
    choose(torch.device("cpu"), 1, cases=CASES[:1], timer=timer(lambda _: 1.0, calls_each=True))
    assert seen == ["torch", "triton"] * 2


def test_other_numbers_and_a_kernel_that_does_not_run_are_refused(monkeypatch):
    def broken(case, device, kernel):
        def call():
            if kernel == "triton" and case.size == 7:
                message = "no compiler\nmore"
                raise OSError(message)
            return torch.tensor([1.0, 1.0 if kernel == "torch" else 1.1])

        return call

    monkeypatch.setattr(choosing, "_call", broken)
    with pytest.raises(UserRuntimeError, match=r"does not run here \(OSError: no compiler\)"):
        choose(torch.device("cpu"), 1, cases=CASES[:1])
    with pytest.raises(UserRuntimeError, match=r"off by 1\.0e-01"):
        choose(torch.device("cpu"), 1, cases=[Case(1, 4, 9)])


def test_the_command_keeps_the_choice(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")
    monkeypatch.setattr(kernels, "_versions", lambda: {"torch": "2", "triton": "3"})
    fake = timer(lambda _: 0.5)
    monkeypatch.setattr(
        bench, "choose", lambda device, rounds: choose(torch.device("cpu"), rounds, cases=CASES, timer=fake)
    )
    bench.main(["--device", "cuda", "--choose", "--rounds", "3"])
    shown = capsys.readouterr().out
    assert "0.500" in shown
    assert "Some GPU: triton, kept in" in shown
    assert kernels.border_kernel("cuda") == "triton"


def test_a_cpu_has_nothing_to_choose():
    with pytest.raises(UserValueError, match="--device cuda"):
        bench.main(["--device", "cpu", "--choose"])
