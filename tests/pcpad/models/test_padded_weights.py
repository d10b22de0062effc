"""Weights that say which padding they are for."""

import json
import struct

import pytest
import torch
from safetensors import safe_open
from torch import nn

from pcpad import convert_padding
from pcpad.adaptation.exponents import exponents_of, set_exponents
from pcpad.errors import UserValueError
from pcpad.models import classifier, load_weights
from pcpad.models.padded_weights import paddings_in, read_metadata, save_padded_weights


def network(padding="partial"):
    parts = [nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 1, 1)]
    return convert_padding(nn.Sequential(*parts), padding)


@pytest.fixture
def written(tmp_path):
    made = network()
    set_exponents(made, {"0": 0.5, "1": [0.25, 0.75]})
    return made, save_padded_weights(made, tmp_path / "a.safetensors", "partial", exponents_of(made))


def test_they_come_back_with_their_exponents(written):
    made, path = written
    read = load_weights(network(), path)
    x = torch.randn(1, 1, 8, 8)
    assert torch.equal(read(x), made(x))
    assert exponents_of(read) == {"0": 0.5, "1": [0.25, 0.75]}


def test_the_file_is_plain_and_has_the_original_s_names(written):
    _, path = written
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(network("zeros").state_dict())
        assert file.metadata()["padding"] == "partial"


def test_another_padding_is_refused_and_nothing_changed(written):
    _, path = written
    other = network("zeros")
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(UserValueError, match="for partial padding, but the network's is zeros"):
        load_weights(other, path)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_other_weights_put_exponents_back_to_one(written, tmp_path):
    made, _ = written
    plain = save_padded_weights(network(), tmp_path / "plain.safetensors", "partial")
    assert exponents_of(load_weights(made, plain)) == {}


def test_classifiers_by_name_take_them(tmp_path):
    made = classifier("timm/test_resnet", 3, "partial")
    set_exponents(made, 0.5)
    path = save_padded_weights(made, tmp_path / "c.safetensors", "partial", exponents_of(made))
    assert exponents_of(classifier("timm/test_resnet", 3, "partial", path)) == exponents_of(made)
    with pytest.raises(UserValueError, match="for partial padding"):
        classifier("timm/test_resnet", 3, "zeros", path)


def test_tied_weights_are_written(tmp_path):
    made = network()
    made[1] = nn.Sequential(made[0])
    made.append(made[0])
    assert read_metadata(save_padded_weights(made, tmp_path / "t.safetensors", "partial")) == {"padding": "partial"}


@pytest.mark.parametrize("exponents", ["[1]", '{"0": "much"}', "{", '{"0": [[1]]}'])
def test_metadata_of_another_kind_are_refused(tmp_path, exponents):
    header = json.dumps({"__metadata__": {"padding": "partial", "exponents": exponents}}).encode()
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(UserValueError, match="metadata that cannot be read"):
        read_metadata(path)


def test_plain_files_say_nothing(tmp_path):
    torch.save(network().state_dict(), tmp_path / "a.pth")
    assert read_metadata(tmp_path / "a.pth") == {}
    assert read_metadata(tmp_path / "none") == {}


def test_paddings_are_told():
    assert paddings_in(network("zeros")) == {"zeros"}
    assert paddings_in(network("reflect")) == {"reflect"}
    assert paddings_in(network("explicit")) == {"explicit"}
    assert paddings_in(nn.Sequential(network("partial"), nn.Conv2d(1, 1, 3, padding=1))) == {"partial", "zeros"}
