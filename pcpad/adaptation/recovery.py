"""Recover a converted network without labels, by distillation from the original with true context."""

from __future__ import annotations

import copy
import hashlib
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pcpad.adaptation.material import Material
from pcpad.adaptation.procedure import Leg, Procedure, Values, restored, scored, shown, train
from pcpad.adaptation.reach import receptive_field
from pcpad.adaptation.result import ROWS, Recovery
from pcpad.adaptation.teaching import Teaching, tensors_of
from pcpad.convert import convert_padding
from pcpad.errors import UserRuntimeError, UserValueError
from pcpad.files import at_home, whole_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["ControlDegradedError", "recover"]

_CROP = 128
_GRID = 32  # crops are multiples of it, as most strides divide it
_DEGRADED = {"loss": 1.02, "agreement": 0.95}


class ControlDegradedError(UserRuntimeError):
    """The procedure degrades even the network that was not converted."""


def recover(
    model: nn.Module,
    images: Sequence[Tensor],
    padding: str = "partial",
    procedure: Procedure | None = None,
    *,
    prepare: Callable[[Tensor], Tensor] | None = None,
    fallback: str | None = None,
    control: Recovery | None = None,
    resume: str | Path | None = None,
    said: Callable[[str], None] | None = None,
) -> Recovery:
    """Convert a copy of a trained network to another padding, and train it to match the original's outputs.

    If the outputs are maps, the original sees more of the photograph than the converted network does, so that it has
    true context beyond the border; both are compared pixel by pixel. The two versions of a classifier see the same
    picture, and their class distributions are compared. The learning rate is chosen on held-out images, and the
    unconverted original is trained by the same procedure as a control.

    Args:
        model: The trained network, which is not changed; all copies run in evaluation mode.
        images: At least 16 photographs, each (C, H, W), uint8 or float in [0, 1], without labels; all of one size for
            classifiers, otherwise at least as large as the crop with its margin.
        padding: One of `pcpad.padding_names()`.
        procedure: The training settings; the defaults of `Procedure` if None.
        prepare: Turns a batch of images in [0, 1] into the network's input: normalizes it, or adds noise for a
            denoiser. Its draws from torch's generator are the same in every run.
        fallback: See `pcpad.convert_padding`.
        control: An earlier recovery of the same network by the same procedure, to another padding; its control is
            reused.
        resume: A file for the run's state, from which a run with the same network, images and settings resumes.
        said: Called with each line of progress.

    Returns:
        The recovered network, the scores of the four networks on held-out images, and a verdict.

    Raises:
        ControlDegradedError: The same procedure made the original worse, so its settings do not suit the network.
        UserValueError: Too few or too small images, nothing to convert, a value out of range, or a `resume` file of
            another network, other images or other settings.
        UserTypeError: The network's output contains no floating-point tensor.
        UserRuntimeError: The network does not run on the images, or its output or loss is not finite.

    Example:
        >>> network = nn.Conv2d(3, 3, 3, padding=1).eval()
        >>> photographs = [torch.rand(3, 40, 40) for _ in range(16)]
        >>> settings = Procedure(steps=4, batch_size=4, rates=(1e-3,), crop=16, margin=8, border=2)
        >>> found = recover(network, photographs, "partial", settings)
        >>> list(found.rows)
        ['original', 'converted', 'recovered', 'original, same procedure']
    """
    procedure = procedure or Procedure()
    said = said or (lambda line: None)
    original = copy.deepcopy(model).eval()
    notes = []
    if model.training:
        notes.append("The network was in training mode; its copies run in evaluation mode.")
        warnings.warn(notes[-1], stacklevel=2)
    converted = _converted(original, padding, fallback)
    material, dense, margin, reach, more = _material(original, images, procedure, prepare)
    notes += more
    runs = _Runs(original, material, procedure, dense, margin, resume, f"{padding}, fallback {fallback}", said)
    rows = {ROWS[0]: runs.score(copy.deepcopy(original)), ROWS[1]: runs.score(copy.deepcopy(converted))}
    for row in ROWS[:2]:
        said(f"{row}: {shown(rows[row])}")
    rates: dict[str, float] = {}
    if control is not None:
        _refuse_another(control.procedure, procedure)
        kept, rates[ROWS[3]] = control.control, control.rates[ROWS[3]]
        of_control = control.rows[ROWS[3]]
    else:
        leg, rates[ROWS[3]] = runs.full(ROWS[3], original)
        kept, of_control = restored(copy.deepcopy(original), leg), leg.values
        _refuse_degraded(rows[ROWS[0]], of_control, dense)
    leg, rates[ROWS[2]] = runs.full(ROWS[2], converted)
    rows |= {ROWS[2]: leg.values, ROWS[3]: of_control}
    if leg.renormed:
        notes.append("The batch norms' statistics were re-estimated, which lowers the loss on held-out images.")
    found = Recovery(
        restored(converted, leg), padding, dense, rows, rates, len(material.held), margin, procedure.border, kept,
        procedure, tuple(notes), reach,
    )  # fmt: skip
    return found


def _refuse_another(theirs: Procedure, ours: Procedure) -> None:
    if replace(theirs, exponent=ours.exponent) != ours:
        message = f"Expected a `control` trained by the same procedure, {ours}, but got one trained by {theirs}"
        raise UserValueError(message)


def _converted(original: nn.Module, padding: str, fallback: str | None) -> nn.Module:
    student, report = convert_padding(copy.deepcopy(original), padding, fallback=fallback, return_report=True)
    if not [row for row in report.converted if row.before != padding]:
        why = report.said() or f"all convolutions that pad already have {padding} padding"
        message = f"There is nothing to recover, and nothing was changed: {why}."
        raise UserValueError(message)
    if report.said():
        warnings.warn(f"{report.said()}.", stacklevel=3)
    return student


def _material(
    original: nn.Module, images: Sequence[Tensor], procedure: Procedure, prepare: Any
) -> tuple[Material, bool, int, int | None, list[str]]:
    """The cropped images, whether outputs are maps, the margin, the exact margin if known, and notes."""
    device = next((weight.device for weight in original.parameters()), torch.device("cpu"))

    def cut(side: int | None) -> Material:
        return Material(
            images, side=side, held_out=procedure.held_out, seed=procedure.seed, prepare=prepare, device=device
        )

    whole = cut(None)
    sizes = [_size(images, number) for number in (range(len(images)) if _known(images) else whole.held)]
    smallest = min(min(size) for size in sizes)
    first = whole.first() if len(set(sizes)) == 1 and procedure.crop is None else None
    crop = procedure.crop or min(_CROP, smallest // _GRID * _GRID)
    if crop < 1 or crop > smallest:
        message = (
            f"The smallest image has a side of {smallest} pixels, too small for a crop of {procedure.crop or _GRID}."
        )
        raise UserValueError(message)
    if first is None:
        first = cut(crop).first()
    dense = _is_dense(original, first)
    if not dense:
        return (whole if procedure.crop is None else cut(crop)), False, 0, None, []
    margin, reach, notes = _margin(original, cut(crop).first(), procedure, crop, smallest)
    material = cut(crop + 2 * margin)
    _run(original, material.first(), f"a crop of {crop} with {margin} pixels of true context on each side")
    return material, True, margin, reach, notes


def _known(images: Sequence[Tensor]) -> bool:
    """Whether the sizes of all images are known without reading them."""
    return hasattr(images, "size_of") or isinstance(images, list | tuple | Tensor)


def _size(images: Sequence[Tensor], number: int) -> tuple[int, int]:
    size_of = getattr(images, "size_of", None)
    height, width = size_of(number) if size_of is not None else images[number].shape[-2:]
    return height, width


def _is_dense(original: nn.Module, image: Tensor) -> bool:
    output = tensors_of(_run(original, image, "at this size"))[0]
    if output.dim() not in (2, 4):
        message = f"Expected an output (N, classes) or (N, C, H, W), but got one of shape {tuple(output.shape)}"
        raise UserValueError(message)
    return output.dim() == 4 and max(output.shape[2:]) > 1


@torch.no_grad()
def _run(network: nn.Module, image: Tensor, what: str) -> Any:
    try:
        return network(image)
    except Exception as error:  # a network may refuse a size with any exception
        size = f"{image.shape[-1]}x{image.shape[-2]}"
        message = f"The network does not run on images of {size} ({what}): {type(error).__name__}: {error}"
        raise UserRuntimeError(message) from error


def _margin(
    original: nn.Module, image: Tensor, procedure: Procedure, crop: int, smallest: int
) -> tuple[int, int | None, list[str]]:
    """The margin, the exact margin if it exists and was looked for, and notes."""
    room = (smallest - crop) // 2
    if procedure.margin is not None:
        if procedure.margin > room:
            message = (
                f"A crop of {crop} with {procedure.margin} pixels of true context on each side needs images of at "
                f"least {crop + 2 * procedure.margin} pixels, but the smallest has a side of {smallest}."
            )
            raise UserValueError(message)
        return procedure.margin, None, []
    looked = receptive_field(original, image)
    reach, grid = max(looked.margin), max(1, *looked.alignment)
    wanted = -(-reach // grid) * grid
    margin = min(wanted, room // grid * grid)
    if margin < 1:
        message = (
            f"Images of {smallest} pixels are too small for a crop of {crop} with true context around it (the "
            f"receptive field extends {reach} pixels to each side): pass larger ones, or a smaller crop."
        )
        raise UserValueError(message)
    notes = [f"No margin covers the receptive field of the network: {looked.obstacles[0]}."] if looked.obstacles else []
    if margin < wanted:
        notes.append(f"The receptive field extends {reach} pixels to each side, but the images allow only {margin}.")
    return margin, None if looked.obstacles else wanted, notes


def _refuse_degraded(before: Values, after: Values, dense: bool) -> None:
    worse = after["loss"] > _DEGRADED["loss"] * before["loss"]
    if worse if dense else after["agreement"] < _DEGRADED["agreement"]:
        message = (
            f"Stopped: the same procedure degrades the network that was not converted ({shown(before)} before, "
            f"{shown(after)} after). Lower the learning rates, use more images, or freeze the norms."
        )
        raise ControlDegradedError(message)


def _sum_of(tensors: Iterable[Any]) -> str:
    """A checksum of tensors' bytes; of other values in a state dict, of what they print."""
    found = hashlib.sha256()
    for value in tensors:
        if isinstance(value, Tensor):
            found.update(f"{value.dtype}, {tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        else:
            found.update(repr(value).encode())
    return found.hexdigest()


class _Runs:
    """The training runs of one recovery, each saved to a file when it ends."""

    def __init__(
        self,
        original: nn.Module,
        material: Material,
        procedure: Procedure,
        dense: bool,
        margin: int,
        resume: str | Path | None,
        conversion: str,
        said: Callable[[str], None],
    ) -> None:
        self.original, self.material, self.procedure = original, material, procedure
        self.dense, self.margin, self.said = dense, margin, said
        self.path = None if resume is None else at_home(resume)
        about = f"{conversion}, {asdict(procedure)}, {len(material.images)} images"
        self.kept: dict[str, Any] = {"about": about, "legs": {}, "current": None}
        if self.path is not None:
            held = material.held_out(procedure.batch_size)
            self.kept |= {"network": _sum_of(original.state_dict().values()), "images": _sum_of(held)}
            if self.path.is_file():
                self._read(self.path)

    def _read(self, path: Path) -> None:
        kept = torch.load(path, map_location="cpu", weights_only=True)
        about = kept.get("about") if isinstance(kept, dict) else type(kept).__name__
        wrong = ""
        if about != self.kept["about"]:
            wrong = f"a run with different settings: expected {self.kept['about']}, but got {about}"
        elif kept.get("network") != self.kept["network"]:
            wrong = "another network's run: its weights are not those of `model`"
        elif kept.get("images") != self.kept["images"]:
            wrong = "a run on other images, or with another `prepare`"
        if wrong:
            message = f"{path} holds the state of {wrong}. Pass another file, or remove it."
            raise UserValueError(message)
        self.kept = kept

    def teaching(self, student: nn.Module) -> Teaching:
        settings = self.procedure
        return Teaching(
            copy.deepcopy(self.original), student, dense=self.dense, margin=self.margin, border=settings.border,
            features=settings.features,
        )  # fmt: skip

    def score(self, student: nn.Module) -> Values:
        return scored(self.teaching(student), self.material, self.procedure.batch_size)

    def full(self, row: str, network: nn.Module) -> tuple[Leg, float]:
        """Choose a learning rate, and train with it."""
        rates = self.procedure.rates
        tried = {}
        for rate in rates if len(rates) > 1 else ():
            tried[rate] = self.leg(f"{row}, tried", network, rate, self.procedure.search_steps).values["loss"]
        rate = min(tried, key=lambda rate: tried[rate]) if tried else rates[0]
        if tried and tried[rate] == float("inf"):
            message = f"{row}: the loss was not finite at any of the learning rates {rates}: pass lower ones"
            raise UserRuntimeError(message)
        return self.leg(row, network, rate, self.procedure.steps), rate

    def leg(self, row: str, network: nn.Module, rate: float, steps: int) -> Leg:
        """One run, read from the file if it contains the run."""
        key = f"{row}, {rate:g}"
        trial = steps != self.procedure.steps or row.endswith("tried")
        if key in self.kept["legs"]:
            return Leg(**self.kept["legs"][key])
        current = self.kept["current"]
        started = current["state"] if current is not None and current["key"] == key else None
        procedure = replace(self.procedure, norms="frozen", evaluations=1) if trial else self.procedure

        def keep(state: dict[str, Any]) -> None:
            self.kept["current"] = {"key": key, "state": state}
            self._write()

        try:
            leg = train(
                self.teaching(copy.deepcopy(network)), self.material, procedure, rate, steps, started=started,
                keep=keep, said=lambda line: self.said(f"{row}: {line}"),
            )  # fmt: skip
        except UserRuntimeError:
            if not trial:
                raise
            leg = Leg()
        kept = replace(leg, state={}, exponents={}) if trial else leg
        self.kept["legs"][key], self.kept["current"] = vars(kept), None
        self._write()
        return kept

    def _write(self) -> None:
        if self.path is not None:
            with whole_file(self.path, "wb") as file:
                torch.save(self.kept, file)
