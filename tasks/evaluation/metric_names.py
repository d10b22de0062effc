"""Infer from a metric's name which direction is better, and its unit."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["is_fraction", "known_mode", "meaning_of", "unit_of"]

# Words in names of metrics for which lower is better (losses, errors, distances), and for which higher is better.
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
# Fractions in [0, 1], which the papers' tables give in percent.
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
    """The direction in which a metric is better, inferred from its name.

    All parts of the path count: in `test/l1/0.01-0.20` and `test/IoU/road`, the last part is a subset of the images or
    pixels. A part that is a metric's name takes precedence over one that contains such a word.

    Args:
        name: As logged; words are separated by slashes, underscores and changes of case.

    Returns:
        `max` or `min`; None if no part determines it, or parts disagree.

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
    """The direction of its last word that has one: `psnr_loss` is a loss."""
    modes: list[str | None] = []
    for word in re.split(r"\W|_", part):
        whole = _word_mode(word)
        modes += [whole] if whole else [_word_mode(piece) for piece in _CAMEL.findall(word)]
    return next((mode for mode in reversed(modes) if mode), None)


def is_fraction(name: str) -> bool:
    """Whether a number is a fraction in [0, 1], such as an accuracy or an IoU, inferred from its name.

    Args:
        name: As logged.
    """
    return any(_FRACTION.search(part) for part in name.split("/")) and known_mode(name) != "min"


def unit_of(name: str, units: Mapping[str, str] | None = None) -> str | None:
    """The unit of a number.

    Args:
        name: As logged, `test/top1` or `test/l1/0.01-0.20`.
        units: Units of the task's own numbers, by a part of their names; these take precedence.

    Returns:
        The unit in words; None if it is unknown.

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
    """The unit and direction of a number, for result files.

    Args:
        name: As logged.
        units: See `unit_of`.

    Returns:
        `unit`, and `better`, which is `higher` or `lower`; None if unknown.
    """
    return {"unit": unit_of(name, units), "better": _BETTER[known_mode(name)]}
