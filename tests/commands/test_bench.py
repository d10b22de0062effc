"""`pcpad bench`: what is compared, what is measured, and what is said of what cannot be."""

import json

import pytest
import torch
from rich.console import Console
from torch import nn

from pcpad import _border, cli, convert_padding
from pcpad.commands.benching import calls, networks, timing
from pcpad.commands.benching.calls import CannotRunError, Setting, prepare
from pcpad.commands.benching.measure import Row, measure
from pcpad.commands.benching.networks import Contestants, build, contestants, example, own_networks
from pcpad.commands.benching.report import published, show
from pcpad.paddings import padding_names

NETWORK = "timm/test_resnet"
CPU = torch.device("cpu")


def bench(*args):
    cli.main(["bench", "--device", "cpu", *map(str, args)])


def failing(capsys, *args):
    with pytest.raises(SystemExit) as caught:
        bench(*args)
    assert caught.value.code not in (0, None)
    return capsys.readouterr().err


def small(padding="zeros"):
    torch.manual_seed(0)
    return convert_padding(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3)), padding)


# The command


@pytest.mark.slow
def test_tables_and_json(tmp_path, capsys):
    path = tmp_path / "bench.json"
    threads = torch.get_num_threads()
    modes = ["--mode", "inference,training", "--batch", "1,2", "--threads", 1]
    bench("--network", NETWORK, "--size", 33, "--rounds", 2, "--json", path, *modes)
    assert torch.get_num_threads() == threads
    out, err = capsys.readouterr()
    content = json.loads(path.read_text())
    rows = content["rows"]
    names = ["zeros", "control", "reflect", "replicate", "explicit", "partial, first call", "partial, later calls"]
    assert [row["padding"] for row in rows] == names * 4
    assert {(row["mode"], row["batch"]) for row in rows} == {(mode, batch) for mode in calls.MODES for batch in (1, 2)}
    assert content["machine"]["threads"] == 1
    assert content["size"] == [33, 33]
    for row in rows:
        assert row["note"] is None
        assert len(row["seconds"]) == 2
        assert row["relative"][1] <= row["relative"][0] <= row["relative"][2]
        assert row["peak_bytes"] > 0
    assert all(row["relative"] == [1, 1, 1] for row in rows if row["padding"] == "zeros")
    assert out.count("zeros again") == 4
    assert f"{NETWORK} at 33×33: training, batch 2, eager, nchw, float32" in out
    assert "1/4 inference" in err


def test_several_networks_and_both_papers_table_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(networks, "build", lambda network: small())
    monkeypatch.setattr("pcpad.commands.bench.build", lambda network: small())
    path = tmp_path / "bench.json"
    bench("--network", "vgg16_bn,resnet50", "--rounds", 1, "--paddings", "partial", "--json", path)
    content = json.loads(path.read_text())
    assert content["network"] == ["vgg16_bn", "resnet50"]
    assert content["size"] == {"vgg16_bn": [224, 224], "resnet50": [224, 224]}
    names = ["zeros", "control", "partial, first call", "partial, later calls"]
    assert [(row["network"], row["padding"]) for row in content["rows"]] == [
        (network, name) for network in content["network"] for name in names
    ]
    table = capsys.readouterr().out.partition("Table 1 of both papers")[2].split("\n")
    assert [line.split() for line in table if "vgg16_bn" in line] == [
        ["time", "×", "vgg16_bn", "2022", "2018", "resnet50", "2022", "2018"]
    ]
    (later,) = (line.split() for line in table if line.startswith("partial, later"))
    assert len(later) == 2 + 6


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_kernels_and_bytes_are_counted(monkeypatch, capsys, mode):
    monkeypatch.setattr(networks, "build", lambda network: small())
    bench("--count", "--size", 32, "--paddings", "partial,reflect", "--mode", mode)
    out = capsys.readouterr().out
    rows = {
        line.split()[0]: line.split()[1:] for line in out.split("\n") if line and line.split()[0] in padding_names()
    }
    zeros, partial = rows["zeros"], rows["partial"]
    # Two convolutions and a ReLU; for the padded one a pass more, backward too.
    assert (int(zeros[0]), int(partial[0])) == (3, 4)
    assert float(zeros[2]) == 1 < float(partial[2])
    assert len(zeros) == (6 if mode == "training" else 3)
    assert list(rows) == ["zeros", "partial", "reflect"]


@pytest.mark.parametrize(("network", "name"), [("inpainting_unet", "masked"), ("spade_generator", "panoptic")])
def test_networks_of_two_inputs(monkeypatch, capsys, network, name):
    from pcpad import models

    own = getattr(models, network)
    less = {"inpainting_unet": {"depth": 2, "width": 4}, "spade_generator": {"ngf": 1}}[network]
    monkeypatch.setattr(models, network, lambda **options: own(**less, **options))
    bench("--network", network, "--size", 64, "--rounds", 1)
    bench("--network", network, "--size", 64, "--count")
    timed, counted = capsys.readouterr().out.split("zeros again")
    assert [line.split()[0] for line in timed.split("\n") if line[:5] == "zeros"] == ["zeros"]
    first, second = (
        int(line.split()[1])
        for line in counted.split("\n")
        if line.split()[:1] in (["zeros"], [name]) and "." not in line.split()[1]
    )
    assert second > first
    assert "not counted" not in counted


@pytest.mark.parametrize("others", [["--backend", "compile"], ["--json", "counts.json"]], ids=["backend", "json"])
def test_what_counting_leaves_out_is_refused(capsys, others):
    assert "leave --" in failing(capsys, "--count", *others)


def test_what_cannot_run_is_said(tmp_path, capsys):
    path = tmp_path / "bench.json"
    backends = ["--backend", "cudagraphs,eager", "--paddings", "reflect,partial"]
    bench("--network", NETWORK, "--size", 32, "--rounds", 1, "--json", path, *backends)
    out = capsys.readouterr().out
    assert "zeros: not measured: CUDA graphs need an NVIDIA GPU, and this runs on cpu" in out
    assert "reflect: not measured: Layer" in out  # its last maps are 1x1
    assert "fallback='replicate'" in out
    rows = {(row["backend"], row["padding"]): row for row in json.loads(path.read_text())["rows"]}
    assert all(rows["cudagraphs", name]["note"] for name in ("zeros", "control", "reflect", "partial"))
    assert rows["eager", "reflect"]["milliseconds"] is None
    assert rows["eager", "partial, later calls"]["milliseconds"] > 0
    bench("--network", NETWORK, "--size", 32, "--rounds", 1, "--paddings", "reflect", "--fallback", "replicate")
    assert "not measured" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--network", "resnet5O"], "Did you mean"),
        (["--paddings", "zeros,partail"], "Did you mean 'partial'"),
        (["--mode", "inference,trainig"], "expected some of inference,training, but got 'trainig'"),
        (["--batch", "0"], "at least 1"),
        (["--size", "12y"], "whole number"),
        (["--json", "nowhere/x.json"], "there is no folder"),
        (["--device", "tpu"], "to be auto, cpu, cuda"),
        (["--device", "cuda:99"], "torch sees"),
        (["--import", "no_such_module_of_mine"], "no such module"),
    ],
)
def test_mistakes_are_one_message(args, words, capsys):
    message = failing(capsys, *args)
    assert words in message
    assert "Traceback" not in message


# What is compared


def test_the_same_weights_under_every_padding():
    made = contestants(NETWORK, ["zeros", "reflect", "explicit", "partial"])
    assert list(made.networks) == ["zeros", "control", "reflect", "explicit", "partial"]
    state = made.networks["zeros"].state_dict()
    for network in made.networks.values():
        others = network.state_dict()
        assert all(torch.equal(others[name], value) for name, value in state.items())
        own = {value.data_ptr() for value in network.parameters()}
        assert network is made.networks["zeros"] or not own & {value.data_ptr() for value in state.values()}
    x = torch.rand(1, 3, 64, 64)
    outputs = {name: network.eval()(x) for name, network in made.networks.items()}
    assert torch.equal(outputs["control"], outputs["zeros"])
    torch.testing.assert_close(outputs["explicit"], outputs["zeros"])
    assert not torch.allclose(outputs["partial"], outputs["zeros"])


def test_networks_by_name(monkeypatch):
    assert {"wide_resnet38", "deeplabv3plus"} <= set(own_networks())
    assert not {"classifier", "load_weights", "smp_network"} & set(own_networks())
    assert len(build("deeplabv3plus/resnet18").stages) == 5
    fetched = []
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", lambda *args, **kwargs: fetched.append(args))
    assert "out" in build("lraspp_mobilenet_v3_large").eval()(torch.rand(1, 3, 32, 32))
    assert not fetched


def test_clips_and_what_has_no_explicit_padding(monkeypatch):
    from pcpad.commands.benching import networks

    clips = nn.Sequential(nn.Conv3d(3, 2, 3, padding=1))
    monkeypatch.setattr(networks, "build", lambda name: clips)
    made = contestants("any", ["explicit", "partial"])
    assert made.dims == 3
    assert "nine filters for 2D" in made.notes["explicit"]
    rows = measure(made, Setting(2, layout="channels_last"), (8, 9), 4, CPU, 1, lambda text: None)
    assert [row.padding for row in rows] == [
        "zeros", "control", "partial, first call", "partial, later calls", "explicit",
    ]  # fmt: skip
    assert rows[-1].note == made.notes["explicit"]
    assert rows[-2].milliseconds > 0


def test_what_keeps_its_padding_is_named(monkeypatch):
    from pcpad.commands.benching import networks

    monkeypatch.setattr(networks, "build", lambda name: nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3)))
    made = contestants("any", ["partial"])
    assert "0 (ZeroPad2d: pads outside of a convolution)" in made.unconverted
    assert "every padding is the same" in made.notes["partial"]


@pytest.mark.faults
def test_a_network_that_keeps_its_padding_is_not_said_to_have_none(own_kinds):
    made = contestants(own_kinds, ["partial"])
    assert list(made.networks) == ["zeros", "control"]
    assert made.notes["partial"].startswith("Nothing was converted to 'partial'; 2 keep their own padding: 2 of _By")
    assert "nothing in this network pads" not in made.notes["partial"]


# What is measured


def test_first_calls_remember_nothing(monkeypatch):
    forgotten = []
    monkeypatch.setattr(_border, "forget", lambda: forgotten.append(1))
    made = Contestants({name: small("partial" if name == "partial" else "zeros") for name in ("zeros", "partial")})
    steps = []
    measure(made, Setting(1), (8, 8), 1, CPU, 4, steps.append)
    assert len(forgotten) == 4 + 2  # with the warm-up
    assert steps[-1] == "round 4 of 4"


def test_forgetting_empties_all_memos():
    layer, x = small("partial"), torch.rand(1, 3, 9, 9)
    with torch.inference_mode():
        layer(x)
        layer(torch.rand(1, 3, 300, 300))  # larger than what is kept whole
        layer[0](x, torch.ones(1, 1, 9, 9))
    assert sum(memo.cache_info().currsize > 0 for memo in _border._MEMOS) > 3
    _border.forget()
    assert not any(memo.cache_info().currsize for memo in _border._MEMOS)


def test_peak_memory_is_exact():
    def call():
        first = torch.empty(1000)
        second = torch.empty(500)
        del first
        third = torch.empty(200)
        return second.numel() + third.numel()

    assert 6000 <= timing.peak_memory(call, CPU) < 6000 + 512  # rounded up by the allocator, if at all


def test_training_trains_and_leaves_no_gradients():
    network = small()
    before = network[0].weight.detach().clone()
    ready = prepare(network, torch.rand(2, 3, 8, 8), Setting(2, mode="training"))
    assert network.training
    assert network[0].weight.grad is None
    assert not torch.equal(network[0].weight, before)
    assert ready.own_bytes == 4 * sum(value.numel() for value in network.parameters())
    assert ready.peak_bytes > ready.own_bytes  # gradients, and what the backward pass keeps


@pytest.mark.parametrize("padding", ["zeros", "explicit", "partial"])
def test_mixed_precision_training(padding):
    network = small(padding)
    setting = Setting(2, mode="training", dtype="bfloat16")
    assert setting.input_dtype == torch.float32
    seen = []
    network[2].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    prepare(network, torch.rand(2, 3, 8, 8), setting)
    assert set(seen) == {torch.bfloat16}
    assert network[0].weight.dtype == torch.float32


@pytest.mark.parametrize("layout", calls.LAYOUTS)
@pytest.mark.parametrize("padding", ["zeros", "explicit", "partial"])
def test_layouts_and_half_precision(layout, padding):
    x = example(2, 2, (8, 9), 1, layout, torch.bfloat16, CPU)
    ready = prepare(small(padding), x, Setting(2, layout=layout, dtype="bfloat16"))
    y = ready.call()
    assert y.dtype == torch.bfloat16
    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    assert x.is_contiguous(memory_format=memory_format)
    x32 = example(2, 2, (8, 9), 1, layout, torch.float32, CPU)
    torch.testing.assert_close(y.float(), small(padding)(x32), rtol=0.05, atol=0.05)


def test_alternating_and_ratio():
    order = []
    calls_ = {name: (lambda name=name: order.append(name)) for name in "abc"}
    seconds = timing.alternate(calls_, rounds=20, warmup=1, device=CPU)
    assert {name: len(taken) for name, taken in seconds.items()} == dict.fromkeys("abc", 20)
    rounds = [tuple(order[i : i + 3]) for i in range(3, len(order), 3)]
    assert all(sorted(names) == list("abc") for names in rounds)
    assert len(set(rounds)) > 1
    middle, low, high = timing.ratio([2.0, 2.2, 1.8, 2.0], [1.0, 1.0, 1.0, 1.0])
    assert (middle, low, high) == (2.0, pytest.approx(1.8), pytest.approx(2.2))


def test_published_figures_only_for_their_setting():
    assert published("resnet50", Setting(1), (224, 224))["2022"]["explicit"] == 4.91
    assert published("vgg16_bn", Setting(1), (224, 224))["2022"]["partial, later calls"] == 1.21
    assert published("resnet50", Setting(2), (224, 224)) == {}
    assert published("resnet50", Setting(1, mode="training"), (224, 224)) == {}
    assert published("resnet50", Setting(1), (256, 224)) == {}


@pytest.mark.faults
def test_both_papers_figures_are_beside_ours(capsys):
    known = published("vgg16_bn", Setting(1), (224, 224))
    assert known["2018"] == {"partial, first call": 1.0644, "partial, later calls": 1.0406}
    assert published("resnet50", Setting(1), (224, 224))["2018"]["partial, later calls"] == 1.0339
    measured = {"seconds": [1.0], "milliseconds": 1.0, "relative": (1.0, 1.0, 1.0), "own_bytes": 1, "peak_bytes": 1.0}
    rows = [Row(name, **measured) for name in ("zeros", "partial, first call", "partial, later calls")]
    show(Console(width=120), "title", rows, known)
    *_, first, later = (line.split() for line in capsys.readouterr().out.splitlines() if line.strip())
    assert (first[-2:], later[-2:]) == (["1.28", "1.06"], ["1.21", "1.04"])


def test_errors_in_words():
    class Fails(nn.Conv2d):
        def forward(self, x):
            raise torch.OutOfMemoryError

    with pytest.raises(CannotRunError, match="out of memory"):
        prepare(Fails(3, 3, 1), torch.rand(1, 3, 4, 4), Setting(1))
    with pytest.raises(CannotRunError, match="RuntimeError: Given groups=1"):
        prepare(nn.Conv2d(4, 3, 1), torch.rand(1, 3, 4, 4), Setting(1))


# Compiled, and on a GPU


@pytest.mark.slow
@pytest.mark.parametrize("mode", calls.MODES)
def test_compile(mode):
    made = Contestants(
        {name: small(name if name == "partial" else "zeros") for name in ("zeros", "control", "partial")}
    )
    rows = measure(made, Setting(1, mode=mode, backend="compile"), (12, 12), 1, CPU, 2, lambda text: None)
    assert [row.padding for row in rows] == ["zeros", "control", "partial"]
    assert [row.note for row in rows] == [None] * 3
    assert rows[1].compile_seconds is None  # it runs the code of the first
    for row in (rows[0], rows[2]):
        assert row.compile_seconds > 10 * row.milliseconds / 1e3


@pytest.mark.slow
def test_no_compiler():
    import torch._inductor.config
    import torch._inductor.cpp_builder

    torch._inductor.cpp_builder.cpp_compiler_search.cache_clear()
    made = Contestants({"zeros": small(), "control": small()})
    try:
        # Its own patch: what pytest's sets it can only delete afterwards, for all tests to come.
        with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
            rows = measure(made, Setting(1, backend="compile"), (12, 12), 1, CPU, 2, lambda text: None)
    finally:
        torch._inductor.cpp_builder.cpp_compiler_search.cache_clear()
    assert "found no C++ compiler" in rows[0].note
    assert rows[1].note is not None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", calls.MODES)
@pytest.mark.parametrize("dtype", calls.DTYPES)
def test_cuda_graphs(mode, dtype):
    device = torch.device("cuda")
    made = Contestants(
        {name: small(name if name == "partial" else "zeros").to(device) for name in ("zeros", "control", "partial")}
    )
    before = made.networks["partial"][0].weight.detach().float().clone()
    rows = measure(made, Setting(2, mode, "cudagraphs", dtype=dtype), (16, 17), 1, device, 3, lambda text: None)
    assert [row.note for row in rows] == [None] * 3
    assert all(row.peak_bytes > 0 and row.milliseconds > 0 for row in rows)
    if mode == "training":
        assert not torch.equal(made.networks["partial"][0].weight.float(), before)
