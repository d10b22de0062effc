"""What the tests of several tasks need."""

import pytest
import torch


@pytest.fixture(scope="session")
def inception_file(tmp_path_factory):
    """Random weights in torch-fidelity's format."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    patch = pytest.MonkeyPatch()
    patch.setattr(module, "load_state_dict_from_url", lambda *args, **kwargs: {})
    patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *args, **kwargs: None)
    torch.manual_seed(0)
    state = module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).state_dict()
    for value in state.values():
        if value.dim() == 4:  # else features fade to nothing from layer to layer, and all images look alike
            torch.nn.init.kaiming_normal_(value)
    torch.save(state, path)
    patch.undo()
    return path
