"""Model cards of trained weights, in the Hugging Face hub's format."""

from __future__ import annotations

import json
import re

from pcpad.models.pretrained_description import Pretrained
from pcpad.tables import as_markdown
from pcpad.terminal import for_terminal

__all__ = ["model_card"]

_IDENTIFIER = re.compile(r"[A-Za-z0-9.+-]+")
_TAGS = {
    "classifier": "image-classification",
    "deeplabv3plus": "image-segmentation",
    "drn_d_105": "image-segmentation",
    "smp_network": "image-segmentation",
    "torchvision_segmentation": "image-segmentation",
    "resnet3d": "video-classification",
    "inpainting_unet": "image-to-image",
    "restoration_network": "image-to-image",
    "filtering_unet": "image-to-image",
    "spade_generator": "image-to-image",
}


def model_card(description: Pretrained, padding: str, title: str) -> str:
    """Write the model card of trained weights.

    Args:
        description: The weights' description.
        padding: The network's padding.
        title: The weights' name.

    Returns:
        Markdown, with the hub's metadata first. Of the description, only the notes may contain Markdown.
    """
    call = ", ".join(f"{name}={value!r}" for name, value in description.arguments.items())
    parts = [
        _front(description, padding),
        f"# {as_markdown(title)}",
        f"A {description.network} of [pcpad](https://pypi.org/project/pcpad/) with **{as_markdown(padding)}** padding.",
        "## Use",
        "```python\nfrom pcpad.models import from_pretrained\n\n"
        'network = from_pretrained("FOLDER or OWNER/NAME")  # in evaluation mode\n```',
        f"It is built by `pcpad.models.{description.network}({for_terminal(call, lines=False)})`. "
        "The weights were trained with its padding: converted to another one without training, it errs near borders.",
        _input(description),
        f"## Training data\n\n{as_markdown(description.data)}",
        "## Measured",
        _numbers(description),
        f"## License\n\n{as_markdown(description.license)}",
    ]
    if description.notes:
        parts += ["## Notes", for_terminal(description.notes)]
    return "\n\n".join(parts) + "\n"


def _front(description: Pretrained, padding: str) -> str:
    """The hub's metadata in YAML, in which JSON strings are valid."""
    license = description.license
    lines = ["---", "library_name: pcpad"]
    if _IDENTIFIER.fullmatch(license):
        lines.append(f"license: {license.lower()}")
    else:
        lines += ["license: other", f"license_name: {json.dumps(license)}"]
    if description.network in _TAGS:
        lines.append(f"pipeline_tag: {_TAGS[description.network]}")
    tags = ["pytorch", "partial-convolution", f"{padding}-padding"]
    return "\n".join([*lines, "tags:", *(f"- {json.dumps(tag)}" for tag in tags), "---"])


def _input(description: Pretrained) -> str:
    if description.mean is None or description.std is None:
        return "Its input is described in the builder's docstring, and is not normalized any further."
    mean, std = (", ".join(f"{one:g}" for one in each) for each in (description.mean, description.std))
    return f"Its input is (image − mean) / std of images in [0, 1]: mean {mean}, std {std}."


def _numbers(description: Pretrained) -> str:
    if not description.numbers:
        return "No measurements."
    rows = [f"| {as_markdown(name)} | {as_markdown(str(value))} |" for name, value in description.numbers.items()]
    return "\n".join(["| what | value |", "|---|---:|", *rows])
