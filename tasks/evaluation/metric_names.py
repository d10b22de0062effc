"""What the name of a number says of it: which direction is better, and in which unit it is."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["is_fraction", "known_mode", "meaning_of", "unit_of"]

# Words of names by which lower is better: losses, errors, distances; and those by which higher is.
_LOWER = re.compile(
    r"loss(es)?|err(or)?s?|r?mse|mae|mape|msle|nll|bce|l1|l2|fid|kid|lpips|dists|distances?|divergence|entropy|"
    r"perplexity|ece|brier|epe|hausdorff|wer|cer",
    re.IGNORECASE,
)
_HIGHER = re.compile(
    r"top\d+|acc(uracy)?|[a-z]*iou|jaccard|dice|(det)?m?a[pr](50|75)?|psnr|ssim|similarity|f1|fbeta|precision|recall|"
    r"sensitivity|specificity|auc|auroc|kappa|mcc|r2|pq|inceptionscore",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+")
# Fractions in [0, 1], which the papers' tables print in percent.
_FRACTION = re.compile(r"(^|_)(top\d+|acc|accuracy|m?iou|(det)?ap(50|75)?)$", re.IGNORECASE)
_BETTER = {"max": "higher", "min": "lower", None: None}
_FRACTION_UNIT = "fraction of 1"
_UNITS = (
    (re.compile(r"(.*_)?(psnr)", re.IGNORECASE), "dB"),
    (re.compile(r"(.*_)?(ssim)", re.IGNORECASE), "similarity, at most 1"),
    (re.compile(r"(.*_)?(fid|kid)", re.IGNORECASE), "distance between features"),
    (re.compile(r"inception_score", re.IGNORECASE), "exp(nats)"),
    (re.compile(r"(images|videos|samples)", re.IGNORECASE), "count"),
)


def known_mode(name: str) -> str | None:
    """Which way a metric is better, as far as its name says.

    The whole path is looked at: in `test/l1/0.01-0.20` and `test/IoU/road` the last part is a part of the images. A
    part that is a metric's name says more than one that holds such a word.

    Args:
        name: As logged; words stand between slashes, underscores and changes of case.

    Returns:
        `max` or `min`; None where no part says it, or parts disagree.

    Example:
        >>> known_mode("test/l1/0.01-0.20"), known_mode("test/loss_of_tiles/mIoU"), known_mode("test/images")
        ('min', 'max', None)
    """
    parts = name.split("/")
    exact = {_word_mode(re.sub(r"\W|_", "", part)) for part in parts} - {None}
    said = exact or {_part_mode(part) for part in parts} - {None}
    return said.pop() if len(said) == 1 else None


def _word_mode(word: str) -> str | None:
    return "min" if _LOWER.fullmatch(word) else "max" if _HIGHER.fullmatch(word) else None


def _part_mode(part: str) -> str | None:
    """By its last word that says it: `psnr_loss` is a loss."""
    modes: list[str | None] = []
    for word in re.split(r"\W|_", part):
        whole = _word_mode(word)
        modes += [whole] if whole else [_word_mode(piece) for piece in _CAMEL.findall(word)]
    return next((mode for mode in reversed(modes) if mode), None)


def is_fraction(name: str) -> bool:
    """Whether a number is a fraction in [0, 1], as far as its name says: an accuracy, an IoU.

    Args:
        name: As logged.
    """
    return any(_FRACTION.search(part) for part in name.split("/")) and known_mode(name) != "min"


def unit_of(name: str, units: Mapping[str, str] | None = None) -> str | None:
    """In which unit a number is.

    Args:
        name: As logged, `test/top1` or `test/l1/0.01-0.20`.
        units: Of the task's own numbers, by a part of their names; these come first.

    Returns:
        The unit in words; None where nothing says it.

    Example:
        >>> unit_of("test/psnr/0.01-0.20"), unit_of("test/regular/mIoU"), unit_of("test/loss", {"loss": "nats"})
        ('dB', 'fraction of 1', 'nats')
    """
    parts = name.split("/")
    own = next((units[part] for part in reversed(parts) if units and part in units), None)
    if own is not None:
        return own
    if is_fraction(name):
        return _FRACTION_UNIT
    return next((unit for part in reversed(parts) for pattern, unit in _UNITS if pattern.fullmatch(part)), None)


def meaning_of(name: str, units: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Unit and direction of a number, for files of results.

    Args:
        name: As logged.
        units: See `unit_of`.

    Returns:
        `unit`, and `better`, which is `higher` or `lower`; None where nothing says it.
    """
    return {"unit": unit_of(name, units), "better": _BETTER[known_mode(name)]}
