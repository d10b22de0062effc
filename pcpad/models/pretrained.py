"""Load trained networks from a file, a folder or the Hugging Face hub, and save them there.

A folder holds `model.safetensors`, `config.json` (see `pcpad.models.pretrained_description`) and a model card,
`README.md`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

from torch import nn

from pcpad.adaptation.exponents import exponents_of, set_exponents
from pcpad.errors import (
    UserFileExistsError,
    UserFileNotFoundError,
    UserModuleNotFoundError,
    UserRuntimeError,
    UserValueError,
)
from pcpad.files import at_home, opened, write_text
from pcpad.models.model_card import model_card
from pcpad.models.padded_weights import (
    apply_exponents,
    metadata_in,
    paddings_in,
    refuse_other_padding,
    save_padded_weights,
)
from pcpad.models.pretrained_description import (
    Pretrained,
    build,
    check_arguments,
    check_numbers,
    check_range,
    read_description,
)
from pcpad.models.weight_files import weights_in
from pcpad.models.weights import load_state, mismatch, unwrap

__all__ = ["from_pretrained", "push_to_hub", "read_pretrained", "save_pretrained"]

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
_ID = re.compile(r"(?!.*(--|\.\.))(?=.{1,96}$)[A-Za-z0-9][\w.-]*/[A-Za-z0-9]([\w.-]*\w)?", re.ASCII)


def from_pretrained(source: str | Path, *, revision: str | None = None) -> nn.Module:
    """Build a network with its trained weights.

    Args:
        source: A folder that `save_pretrained` wrote, the file of weights in it, or `OWNER/NAME` on the Hugging Face
            hub. Local folders come first, then the hub's cache; only files in neither are downloaded.
        revision: A branch, tag or commit on the hub; `main` if None.

    Returns:
        The network, on the CPU, in evaluation mode.

    Raises:
        UserFileNotFoundError: There is no such file, folder or repository.
        UserValueError: It is not a network of pcpad, or its weights do not fit or are damaged.
        UserModuleNotFoundError: huggingface_hub is not installed (extra `hub`).
        UserRuntimeError: The hub cannot be reached.
    """
    config, weights = _found(source, revision)
    description = read_description(config)
    if weights is None:
        weights = _from_hub(str(source), WEIGHTS, _commit(config) or revision)
    said = f"{config}"
    # Opened once, so that the hashed file is the loaded one, whatever replaces it meanwhile.
    with opened(weights) as file:
        _refuse_damaged(file, weights, description.sha256)
        return _loaded(description, file, weights, said)


def _loaded(description: Pretrained, file: BinaryIO, weights: Path, said: str) -> nn.Module:
    """Build the network of a description, which `said` names, with the weights of an open file."""
    state = unwrap(weights_in(file, weights), str(weights))
    # First on the meta device: a description may claim a larger network than its weights fill.
    problem = mismatch(build(description.network, description.arguments, said, "meta"), state)
    if problem:
        message = f"{weights} does not fit the {description.network} that {said} describes.\n{problem}"
        raise UserValueError(message)
    network = build(description.network, description.arguments, said)
    metadata = metadata_in(file, weights)
    refuse_other_padding(network, metadata, str(weights))
    load_state(network, state, str(weights))
    apply_exponents(network, metadata)
    return network.eval()


def read_pretrained(source: str | Path, *, revision: str | None = None) -> Pretrained:
    """Read the description of trained weights: network, data, numbers, license, normalization. Nothing is built.

    Args:
        source: See `from_pretrained`.
        revision: See `from_pretrained`.
    """
    return read_description(_found(source, revision)[0])


def save_pretrained(
    network: nn.Module,
    folder: str | Path,
    name: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    data: str,
    license: str,
    numbers: Mapping[str, float | str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    notes: str = "",
) -> Path:
    """Save a trained network for `from_pretrained`.

    Args:
        network: A network from one of our builders, for example a task's `network`.
        folder: The folder to write, which is made if missing; files of earlier calls are replaced.
        name: The builder's name, see `pcpad.models.pretrained_description.NETWORKS`: `deeplabv3plus`.
        arguments: Its arguments: `{"encoder": "resnet50", "num_classes": 19, "padding": "partial"}`.
        data: The training data, and the terms under which it is available.
        license: The weights' license: an SPDX identifier such as `BSD-3-Clause`, or a sentence.
        numbers: Measurements by name.
        mean: Mean per channel for the normalization of its images; None if they are not normalized.
        std: Standard deviation per channel, likewise.
        notes: Further text for the model card, as Markdown.

    Returns:
        The folder.

    Raises:
        UserValueError: The builder makes another network from these arguments, or data or license are empty.
        UserFileExistsError: `folder` is a file.

    Example:
        >>> import tempfile
        >>> from pcpad.models import filtering_unet, from_pretrained, save_pretrained
        >>> folder = Path(tempfile.mkdtemp()) / "smooth"
        >>> trained = filtering_unet(width=4, padding="partial")
        >>> options = {"width": 4, "padding": "partial"}
        >>> _ = save_pretrained(trained, folder, "filtering_unet", options, data="noise", license="CC0-1.0")
        >>> type(from_pretrained(folder)).__name__, sorted(path.name for path in folder.iterdir())
        ('FilteringUNet', ['README.md', 'config.json', 'model.safetensors'])
    """
    given, folder = dict(arguments or {}), at_home(folder)
    for what, text in (("data", data), ("license", license)):
        if not text.strip():
            message = f"Expected a text for `{what}`, which users of the weights need to know, but got {text!r}"
            raise UserValueError(message)
    check_arguments(name, given, "save_pretrained")
    means, stds = check_range(mean, std, "save_pretrained")
    measured = check_numbers(numbers or {}, "save_pretrained")
    exponents = exponents_of(network)
    _refuse_another(network, build(name, given, "save_pretrained", "meta"), exponents, f"{name}(**{given})")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        message = f"Expected `folder` to be a folder, but {folder} is a file: pass another path"
        raise UserFileExistsError(message) from None
    padding = _padding(network, given)
    description = Pretrained(name, given, data, license, measured, means, stds, notes)
    weights = save_padded_weights(network, folder / WEIGHTS, padding, exponents)
    with opened(weights) as file:
        description = replace(description, sha256=_sum(file))
    write_text(folder / CARD, model_card(description, padding, folder.resolve().name))
    write_text(folder / CONFIG, description.json())  # last, as its checksum shows whether the folder is complete
    return folder


def push_to_hub(
    folder: str | Path, repository: str, *, private: bool = False, message: str = "Weights of pcpad", token: str = ""
) -> str:
    """Upload a folder that `save_pretrained` wrote to the Hugging Face hub.

    Args:
        folder: The folder; its three files are checked and uploaded.
        repository: `OWNER/NAME`, created if missing.
        private: Whether a new repository is private.
        message: The commit message.
        token: A token of the hub; the one that `hf auth login` stores if empty.

    Returns:
        The commit's URL.

    Raises:
        UserFileNotFoundError: The folder lacks a file.
        UserValueError: Its files do not belong together, or `repository` is not a valid name.
        UserRuntimeError: The hub refuses the upload, or cannot be reached.
    """
    folder = at_home(folder)
    if not _ID.fullmatch(repository):
        text = f"Expected the repository to be OWNER/NAME, but got {repository!r}"
        raise UserValueError(text)
    missing = [name for name in (CONFIG, WEIGHTS, CARD) if not (folder / name).is_file()]
    if missing:
        text = f"{folder} lacks {', '.join(missing)}: expected a folder that save_pretrained wrote"
        raise UserFileNotFoundError(text)
    expected = read_description(folder / CONFIG).sha256
    with opened(folder / WEIGHTS) as file:
        _refuse_damaged(file, folder / WEIGHTS, expected)
    hub = _hub()
    try:
        api = hub.HfApi(token=token or None)
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=[CONFIG, WEIGHTS, CARD],
            commit_message=message,
        )
    # The hub's client raises httpx's errors, its own, or OSError, which change between its versions.
    except Exception as error:
        text = f"{repository} could not be pushed to the hub: {_first_line(error)}"
        raise UserRuntimeError(text) from error
    return str(done.commit_url)


def _found(source: str | Path, revision: str | None) -> tuple[Path, Path | None]:
    """The paths of the description and the weights; None for weights that are not downloaded yet."""
    path = at_home(source)
    if path.is_dir():
        return _beside(path, path / WEIGHTS)
    if path.is_file():
        return _beside(path.parent, path.with_name(WEIGHTS) if path.name == CONFIG else path)
    if not isinstance(source, str) or not _ID.fullmatch(source):
        message = (
            f"No trained network at {source}: expected a folder that save_pretrained wrote, the file of weights in it, "
            "or OWNER/NAME on the Hugging Face hub"
        )
        raise UserFileNotFoundError(message)
    cached = [_in_cache(source, name, revision) for name in (CONFIG, WEIGHTS)]
    if cached[0] is not None:
        return cached[0], cached[1]
    return _from_hub(source, CONFIG, revision), None


def _beside(folder: Path, weights: Path) -> tuple[Path, Path]:
    for path in (folder / CONFIG, weights):
        if not path.is_file():
            message = (
                f"{path} is missing: expected {CONFIG} and the weights in one folder, as save_pretrained writes them. "
                "Load weights without a description with pcpad.models.load_weights(network, FILE)"
            )
            raise UserFileNotFoundError(message)
    return folder / CONFIG, weights


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError as error:
        message = "The Hugging Face hub needs huggingface_hub: pip install 'pcpad[hub]'"
        raise UserModuleNotFoundError(message, name="huggingface_hub") from error
    return huggingface_hub


def _in_cache(repository: str, name: str, revision: str | None) -> Path | None:
    found = _hub().try_to_load_from_cache(repository, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _from_hub(repository: str, name: str, revision: str | None) -> Path:
    try:
        return Path(_hub().hf_hub_download(repository, name, revision=revision))
    except UserModuleNotFoundError:
        raise
    # As in `push_to_hub`.
    except Exception as error:
        at = f" at {revision}" if revision else ""
        message = (
            f"There is no folder {repository}, and {name} of {repository}{at} could not be downloaded from the hub: "
            f"{_first_line(error)}"
        )
        kind = UserFileNotFoundError if "NotFound" in type(error).__name__ else UserRuntimeError
        raise kind(message) from error


def _commit(config: Path) -> str | None:
    """The commit of a file in the hub's cache, to get the weights of the same commit."""
    name = config.parent.name
    return name if config.parent.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", name) else None


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]


def _sum(file: BufferedReader) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_damaged(file: BufferedReader, weights: Path, expected: str) -> None:
    if _sum(file) != expected:
        message = (
            f"{weights} is not the file that its {CONFIG} describes (the checksums differ): it is damaged, or one of "
            "the two was replaced. Copy both again from their source"
        )
        raise UserValueError(message)


def _padding(network: nn.Module, arguments: Mapping[str, Any]) -> str:
    found = paddings_in(network)
    stated = arguments.get("padding")
    return stated if stated in found else min(found, key=lambda name: name != "partial", default="zeros")


def _refuse_another(network: nn.Module, built: nn.Module, exponents: Mapping[str, Any], call: str) -> None:
    """Compare a network with the one that its description builds, by layers as well as by shapes of weights."""
    problem = mismatch(built, network.state_dict())
    if not problem:
        set_exponents(built, exponents)
        ours, theirs = ({name: _said(module) for name, module in one.named_modules()} for one in (network, built))
        names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
        if names:
            name = names[0]
            problem = f"  {name or 'the whole'} is {ours.get(name, 'missing')}, not {theirs.get(name, 'missing')}"
    if problem:
        message = f"{call} builds a different network from the one to save:\n{problem}"
        raise UserValueError(message)


def _said(module: nn.Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"
