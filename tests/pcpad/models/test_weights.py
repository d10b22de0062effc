"""Loading weights that others wrote: wrappers, refusals, and that a misfit changes nothing."""

import os
import pickle
import signal
import zipfile

import pytest
import safetensors.torch
import torch
from safetensors.torch import save_file
from torch import nn

from pcpad.errors import UserValueError
from pcpad.models import load_weights
from pcpad.models.weights import read_weights


def network(classes: int = 10) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, classes))


def other_state(classes: int = 10) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        name: torch.randn_like(value.float()).to(value.dtype) for name, value in network(classes).state_dict().items()
    }


def same(model: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def prefixed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in state.items()}


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda s: s, id="bare"),
        pytest.param(lambda s: {"state_dict": s, "epoch": 3, "best_acc1": 76.1}, id="training script"),
        pytest.param(lambda s: {"state_dict": prefixed(s, "module.")}, id="DataParallel, as NVIDIA/partialconv"),
        pytest.param(lambda s: {"model_state_dict": prefixed(s, "_orig_mod.")}, id="compiled"),
        pytest.param(lambda s: {"state_dict": prefixed(s, "network."), "loops": {}}, id="Lightning"),
        pytest.param(lambda s: {"state_dict": prefixed(s, "network._orig_mod.")}, id="Lightning, compiled"),
        pytest.param(lambda s: {"model": prefixed(s, "module._orig_mod.")}, id="DDP of compiled"),
    ],
)
@pytest.mark.parametrize("from_file", [False, True])
def test_wrappers_are_taken_off(wrap, from_file, tmp_path):
    state = other_state()
    content = wrap(state)
    if from_file:
        torch.save(content, tmp_path / "w.pth")
        content = tmp_path / "w.pth"
    model = network()
    assert load_weights(model, content) is model
    assert same(model, state)


def test_safetensors_and_old_pickles(tmp_path):
    state = other_state()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert same(load_weights(network(), str(tmp_path / "w.safetensors")), state)
    assert same(load_weights(network(), tmp_path / "old.pth"), state)


def test_batch_norm_counters_of_old_files_may_be_missing():
    state = other_state()
    del state["1.num_batches_tracked"]
    model = network()
    model[1].num_batches_tracked.fill_(7)
    load_weights(model, state)
    assert model[1].num_batches_tracked == 0
    assert torch.equal(model[1].running_mean, state["1.running_mean"])


def test_one_readable_error_and_nothing_changed():
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = other_state()
    state["extra.weight"] = state.pop("0.bias")
    state["0.weight"] = torch.zeros(4, 3, 5, 5)
    with pytest.raises(ValueError, match="does not fit Sequential") as caught:
        load_weights(model, state)
    message = str(caught.value)
    assert "missing from the file (1 of 9): 0.bias" in message
    assert "not in the network (1 of 9): extra.weight" in message
    assert "0.weight is 4 x 3 x 5 x 5, the network's 4 x 3 x 3 x 3" in message
    assert same(model, before)


def test_long_lists_are_cut():
    big = nn.Sequential(*(nn.Linear(1, 1) for _ in range(30)))
    with pytest.raises(ValueError, match=r"missing from the file \(60 of 60\): 0\.weight.*and 50 more"):
        load_weights(big, {"x.weight": torch.zeros(1)})


def test_class_count():
    with pytest.raises(
        ValueError, match=r"classifier has 1000 classes, the network 10: pass num_classes=1000 \(--num_classes 1000 to"
    ):
        load_weights(network(10), other_state(1000))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_weights(value):
    model, state = network(), other_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state["3.weight"][0, 0] = value
    with pytest.raises(ValueError, match=r"NaN or infinite weights \(1 of 9 names\): 3\.weight"):
        load_weights(model, state)
    assert same(model, before)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_refused(tmp_path, capsys, legacy):
    torch.save(
        {"state_dict": other_state(), "x": Evil()}, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy
    )
    with pytest.raises(ValueError, match=r"w\.pth is refused: its pickle refers to `.*print`.*can run code"):
        load_weights(network(), tmp_path / "w.pth")
    assert "code ran" not in capsys.readouterr().out


def test_bare_pickle_is_refused(tmp_path):
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="refused"):
        load_weights(network(), tmp_path / "w.pth")


@pytest.mark.faults
@pytest.mark.parametrize("text", [b"\x80\x02.", b"\x80\x02K\x01K\x02K\x03s.", b"\x80\x02h\x07.", b"\x80\x02]q\x00Ru."])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_takes_what_is_not_there_is_refused_in_a_sentence(tmp_path, text, legacy):
    path = tmp_path / "w.pth"
    if legacy:
        path.write_bytes(text)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in {"data.pkl": text, "version": b"3\n", "byteorder": b"little"}.items():
                archive.writestr(f"w/{name}", part)
    with pytest.raises(UserValueError, match=r"w\.pth (cannot be read as a weight file|is refused)"):
        read_weights(path)


@pytest.mark.faults
def test_an_archive_on_several_disks_is_refused_in_a_sentence(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    at = content.rindex(b"PK\5\6")
    if content[at - 20 : at - 16] != b"PK\6\7":  # where the end of a large archive is to be found
        content[at:at] = b"PK\6\7" + bytes(16)
        at += 20
    content[at - 4 : at] = (7).to_bytes(4, "little")
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UserValueError, match="cannot be read as a weight file; is it complete"):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("url", ["https://example.com/w.pth", "HTTP://example.com/w.pth", "s3://bucket/w.pth"])
def test_remote_paths_are_refused(url):
    with pytest.raises(ValueError, match="Expected a local file of weights"):
        load_weights(network(), url)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_truncated_and_missing_files(tmp_path, name):
    path = tmp_path / name
    with pytest.raises(FileNotFoundError, match="No weight file at"):
        load_weights(network(), path)
    if name.endswith("pth"):
        torch.save(other_state(), path)
    else:
        save_file(other_state(), path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="is it complete"):
        load_weights(network(), path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"state_dict": {"a": "text"}}])
def test_no_state_dict(content):
    with pytest.raises(ValueError, match="holds no state dict"):
        load_weights(network(), content)


def test_a_tensor_instead_of_a_state_dict(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"to hold a state dict \(names to tensors\), but got a Tensor"):
        load_weights(network(), tmp_path / "w.pth")


@pytest.mark.faults
@pytest.mark.parametrize("place", ["tensor", "pickle"])
def test_a_flipped_bit_is_noticed(tmp_path, place):
    path = tmp_path / "weights.ckpt"
    torch.save({"state_dict": {"weight": torch.ones(100, 100), "bias": torch.zeros(100)}}, path)
    read_weights(path)
    data = bytearray(path.read_bytes())
    at = data.index(torch.ones(8).numpy().tobytes()) + 401 if place == "tensor" else data.index(b"bias") + 1
    data[at] ^= 4
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"weights\.ckpt is damaged: 1 of its \d+ parts do not match their checksums"):
        read_weights(path)


def test_a_file_without_checksums_is_read(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"weight": torch.ones(3)}, tmp_path / "w.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert read_weights(tmp_path / "w.pt")["weight"].tolist() == [1, 1, 1]


@pytest.mark.faults
@pytest.mark.parametrize("name", ["w.SAFETENSORS", "w.bin", "w"])
def test_safetensors_under_another_name(tmp_path, name):
    state = {key: value + 1 for key, value in network().state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").rename(tmp_path / name)
    assert same(load_weights(network(), tmp_path / name), state)


def test_a_damaged_header_of_safetensors_is_refused_whatever_the_bit(tmp_path):
    save_file(network().state_dict(), tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    for number in range(0, end * 8, 7):
        spoilt = bytearray(data)
        spoilt[number // 8] ^= 1 << number % 8
        (tmp_path / "w.safetensors").write_bytes(bytes(spoilt))
        with pytest.raises(ValueError, match=r"w\.safetensors"):
            load_weights(network(), tmp_path / "w.safetensors")
    for length in range(0, len(data), 97):
        (tmp_path / "w.safetensors").write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"w\.safetensors"):
            load_weights(network(), tmp_path / "w.safetensors")


def too_long(*_):
    pytest.fail("still waiting")


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["pickle", "safetensors"])
def test_what_takes_a_files_place_while_it_is_read_is_not_opened(tmp_path, monkeypatch, kind):
    path = tmp_path / "x.weights"
    state = other_state()
    save_file(state, path) if kind == "safetensors" else torch.save(state, path)

    def swap(take):
        def taken(*args, **options):
            path.unlink()
            os.mkfifo(path)
            monkeypatch.undo()
            return take(*args, **options)

        return taken

    for place, name in ((zipfile, "is_zipfile"), (safetensors.torch, "load_file"), (safetensors.torch, "load")):
        monkeypatch.setattr(place, name, swap(getattr(place, name)))
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(10)  # a pipe waits until somebody writes to it
    try:
        assert same(load_weights(network(), path), state)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not path.is_file(), "it was swapped"


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["pickle", "safetensors"])
def test_a_system_without_names_of_open_files(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("pcpad.models.weight_files.again", lambda file: None)
    state = other_state()
    save_file(state, tmp_path / "x") if kind == "safetensors" else torch.save(state, tmp_path / "x")
    assert same(load_weights(network(), tmp_path / "x"), state)
