"""The table of whole networks' times: what it makes of seconds, and that a stopped run goes on."""

import json
import sys

import pytest
import torch
from torch import nn

from benchmarks import network_times

ROUNDS = 30
NOISE = [1 + 0.001 * (number % 3 - 1) for number in range(ROUNDS)]


def seconds(partial=1.0, first=1.0, control=1.0):
    calls = {"zeros": 1.0, "control": control, "partial": partial, "partial, first call": first}
    return {
        "seconds": {
            name: [0.1 * factor * NOISE[(number + shift) % ROUNDS] for number in range(ROUNDS)]
            for shift, (name, factor) in enumerate(calls.items())
        }
    }


@pytest.mark.parametrize(
    ("interval", "goal", "expected"),
    [((1.0, 0.99, 1.01), 1.01, "met"), ((1.03, 1.02, 1.04), 1.01, "missed"), ((1.01, 1.0, 1.02), 1.01, "open")],
    ids=["below", "above", "both"],
)
def test_a_goal_is_judged_by_the_interval(interval, goal, expected):
    assert network_times.judged(interval, goal) == expected


def test_a_row_says_what_was_met_and_whether_the_control_was_quiet():
    quiet = network_times.row("resnet50", seconds(partial=1.004, first=1.2), 0.005)
    assert quiet["zeros, ms"] == "100.0"
    assert quiet["rounds"] == ROUNDS
    assert (quiet["control within"], quiet["goal"], quiet["goal 1.05"]) == ("yes", "1.01: met", "missed")
    noisy = network_times.row("mobilenet_v3_large", seconds(partial=1.05, control=1.02), 0.005)
    assert noisy["control within"].startswith("no (± 0.02")
    assert noisy["goal"] == "1.02: missed"


def test_rounds_end_when_the_control_is_quiet_and_finished_networks_are_not_timed_again(tmp_path, monkeypatch, capsys):
    made = []

    def contestants(name, paddings):
        made.append(name)
        networks = {padding: nn.Conv2d(3, 4, 3, padding=1) for padding in ("zeros", "control", *paddings)}
        return type("Made", (), {"networks": networks})

    monkeypatch.setattr(network_times, "contestants", contestants)
    monkeypatch.setattr(network_times, "NETWORKS", {"small": ((3, 8, 8), 1.01)})
    threads, file = torch.get_num_threads(), tmp_path / "times.json"
    try:
        for _ in range(2):
            monkeypatch.setattr(sys, "argv", ["", "--json", str(file), "--within", "10"])
            network_times.main()
    finally:
        torch.set_num_threads(threads)
    assert made == ["small"]
    kept = json.loads(file.read_text())["small"]
    assert len(kept["seconds"]["partial, first call"]) == network_times.AT_LEAST
    assert kept["clock"] == "process_time"
    assert capsys.readouterr().out.count("small, 8×8") == 2
