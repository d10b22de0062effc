"""Keras' files of weights: nothing outside them is read, and claims are held against their size."""

import contextlib
import sys

import numpy as np
import pytest
import torch

from pcpad.errors import UserModuleNotFoundError, UserValueError
from pcpad.models.weights import read_weights


@pytest.fixture
def h5py():
    return pytest.importorskip("h5py")


def written(h5py, path, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("conv_1/conv_1/kernel:0", data=np.arange(6, dtype=np.float32).reshape(2, 3))
        file.create_dataset("conv_1/conv_1/bias:0", data=np.ones(3, dtype=">f8"))
        for name, values in options.items():
            file.create_dataset(f"conv_2/conv_2/{name}:0", **values)
    return path


def test_arrays_by_layer(h5py, tmp_path):
    state = read_weights(written(h5py, tmp_path / "w.h5"))
    assert state["conv_1.kernel"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert state["conv_1.bias"].dtype == torch.float64
    assert set(state) == {"conv_1.kernel", "conv_1.bias"}


@pytest.mark.faults
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shape": (1 << 40,), "dtype": "f4"}, "claims 4398046511104 bytes"),
        ({"shape": (1 << 20,), "dtype": "f4"}, "claims 4194304 bytes"),
        ({"data": np.zeros(1 << 20, "f4"), "chunks": (1 << 16,), "compression": "gzip"}, "stored in chunks"),
        ({"data": np.zeros(3, "i4")}, "expected floating-point numbers"),
        ({"data": "text"}, "expected floating-point numbers"),
        ({"shape": (4,), "dtype": "f4", "external": [("secret.bin", 0, 16)]}, "stored in another file"),
    ],
    ids=["beyond memory", "not there", "compressed", "whole numbers", "text", "elsewhere"],
)
def test_claims_and_leads_out_of_the_file_are_refused(values, said, h5py, tmp_path):
    (tmp_path / "secret.bin").write_bytes(b"0123456789abcdef")
    with pytest.raises(UserValueError, match=said):
        read_weights(written(h5py, tmp_path / "w.h5", kernel=values))


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["external", "soft", "whole"])
def test_links_are_refused(kind, h5py, tmp_path):
    written(h5py, tmp_path / "other.h5")
    with h5py.File(written(h5py, tmp_path / "w.h5"), "a") as file:
        name = "model_weights" if kind == "whole" else "linked"
        file[name] = h5py.SoftLink("/conv_1") if kind == "soft" else h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
    with pytest.raises(UserValueError, match="is a link"):
        read_weights(tmp_path / "w.h5")


@pytest.mark.faults
def test_virtual_arrays_are_refused(h5py, tmp_path):
    layout = h5py.VirtualLayout(shape=(3,), dtype="f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "conv_1/conv_1/bias:0", shape=(3,))
    with h5py.File(written(h5py, tmp_path / "w.h5"), "a") as file:
        file.create_virtual_dataset("conv_2/kernel:0", layout)
    with pytest.raises(UserValueError, match="stored in another file"):
        read_weights(tmp_path / "w.h5")


@pytest.mark.faults
def test_a_group_that_holds_itself_and_no_arrays_at_all(h5py, tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("again")
        group["again"] = group
    with pytest.raises(UserValueError, match="it has more than 20000 groups, or groups deeper than 8"):
        read_weights(tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_group("empty")
    with pytest.raises(UserValueError, match="holds no arrays"):
        read_weights(tmp_path / "w.h5")


@pytest.mark.faults
def test_damage_is_said_and_never_another_error(h5py, tmp_path):
    whole = written(h5py, tmp_path / "w.h5").read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole[: draw.integers(9, len(whole) + 1)])
        for place in draw.integers(8, len(damaged), 4):
            damaged[place] = draw.integers(256)
        (tmp_path / "w.h5").write_bytes(damaged)
        with contextlib.suppress(UserValueError):
            read_weights(tmp_path / "w.h5")


@pytest.mark.faults
def test_without_h5py_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "w.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(UserModuleNotFoundError, match=r"pip install 'pcpad\[keras\]'"):
        read_weights(tmp_path / "w.h5")
