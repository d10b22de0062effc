"""Import paths of earlier versions, kept working because existing configs, checkpoints and programs use them.

`pcpad.tasks.evaluators.Tile` in a `config.yaml` is found where it is now, as the very same class. A `FutureWarning`,
which Python shows to whoever runs the command, says where that is. Importing this module sets this up, as `pcpad` does;
nothing else is imported before an old path is used.

When a module moves, add it to `MODULES`; when a single name moves out of a module or is renamed, add it to `NAMES` (to
`SPELLINGS` when it is only spelled otherwise); when an option's value is renamed, add it to `VALUES`.
`tests/old_names.json` lists the names that must be found.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# Modules that no longer exist, and where their content is now.
MODULES: dict[str, str] = {
    # pcpad
    "pcpad._rows": "pcpad.panoptic.rows",
    "pcpad._sparse": "pcpad.panoptic.autograd",
    "pcpad.panoptic_plan": "pcpad.panoptic.plan",
    "pcpad.processes": "pcpad.distributed",
    # pcpad.models
    "pcpad.models.encoders": "pcpad.models.weights",
    # pcpad.metrics
    "pcpad.metrics.inception": "pcpad.tasks.judges.inception",
    # pcpad.datamodules
    "pcpad.datamodules.arguments": "pcpad.datamodules.base",
    "pcpad.datamodules.caches": "pcpad.datamodules.reading.caches",
    "pcpad.datamodules.centroids": "pcpad.datamodules.datasets.centroids",
    "pcpad.datamodules.checks": "pcpad.datamodules.datasets.checks",
    "pcpad.datamodules.cityscapes_files": "pcpad.datamodules.datasets.cityscapes_files",
    "pcpad.datamodules.cityscapes_labels": "pcpad.datamodules.datasets.cityscapes_labels",
    "pcpad.datamodules.clip_datasets": "pcpad.datamodules.datasets.clip_datasets",
    "pcpad.datamodules.clips": "pcpad.datamodules.datasets.clips",
    "pcpad.datamodules.crops": "pcpad.datamodules.datasets.epochs",
    "pcpad.datamodules.damaged": "pcpad.datamodules.datasets.damaged",
    "pcpad.datamodules.failures": "pcpad.datamodules.reading.failures",
    "pcpad.datamodules.filtered_crops": "pcpad.datamodules.datasets.filtered_crops",
    "pcpad.datamodules.folders": "pcpad.datamodules.reading.folders",
    "pcpad.datamodules.frame_folders": "pcpad.datamodules.reading.frame_folders",
    "pcpad.datamodules.images": "pcpad.datamodules.reading.images",
    "pcpad.datamodules.kinetics_files": "pcpad.datamodules.datasets.kinetics_files",
    "pcpad.datamodules.kinetics_splits": "pcpad.datamodules.datasets.kinetics_splits",
    "pcpad.datamodules.masked_images": "pcpad.datamodules.datasets.masked_images",
    "pcpad.datamodules.datasets.masks": "pcpad.datamodules.datasets.hole_masks",
    "pcpad.datamodules.masks": "pcpad.datamodules.datasets.hole_masks",
    "pcpad.datamodules.panoptic_scenes": "pcpad.datamodules.datasets.panoptic_scenes",
    "pcpad.datamodules.photos": "pcpad.datamodules.datasets.photos",
    "pcpad.datamodules.places2_files": "pcpad.datamodules.datasets.places2_files",
    "pcpad.datamodules.pngs": "pcpad.datamodules.reading.pngs",
    "pcpad.datamodules.sampling": "pcpad.datamodules.base",
    "pcpad.datamodules.scenes": "pcpad.datamodules.datasets.scenes",
    "pcpad.datamodules.strokes": "pcpad.datamodules.datasets.strokes",
    "pcpad.datamodules.transforms": "pcpad.datamodules.datasets.transforms",
    "pcpad.datamodules.video_files": "pcpad.datamodules.reading.video_files",
    "pcpad.datamodules.video_table": "pcpad.datamodules.datasets.video_table",
    "pcpad.datamodules.videos": "pcpad.datamodules.reading.videos",
    "pcpad.datamodules.workers": "pcpad.datamodules.base",
    # pcpad.tasks
    "pcpad.tasks.averaging": "pcpad.models.averaging",
    "pcpad.tasks.callbacks.evaluation": "pcpad.tasks.evaluation.files",
    "pcpad.tasks.callbacks.files": "pcpad.files",
    "pcpad.tasks.callbacks.inpainting_table": "pcpad.tasks.evaluation.files",
    "pcpad.tasks.crosstesting": "pcpad.tasks.base",
    "pcpad.tasks.detection_judge": "pcpad.tasks.judges.detection",
    "pcpad.tasks.evaluation_report": "pcpad.tasks.evaluation.segmentation_report",
    "pcpad.tasks.evaluators": "pcpad.tasks.evaluation.evaluators",
    "pcpad.tasks.inpainting_report": "pcpad.tasks.evaluation.inpainting_report",
    "pcpad.tasks.inputs": "pcpad.tasks.base",
    "pcpad.tasks.segmentation_pictures": "pcpad.tasks.pictures.segmentation",
    "pcpad.tasks.sheets": "pcpad.tasks.pictures.sheets",
    "pcpad.tasks.street_detector": "pcpad.models.street_detector",
    "pcpad.tasks.synthesis_judge": "pcpad.tasks.judges.segmentation",
    "pcpad.tasks.synthesis_judges": "pcpad.tasks.judges.synthesis",
    # pcpad.commands
    "pcpad.commands.comparison.crossing": "pcpad.commands.comparison.report",
    "pcpad.commands.comparison.files": "pcpad.files",
    "pcpad.commands.comparison.sections": "pcpad.commands.comparison.report",
    "pcpad.commands.comparison.study": "pcpad.commands.comparison.results",
    "pcpad.commands.comparison.tables": "pcpad.tables",
    "pcpad.commands.filling.masks": "pcpad.commands.filling.holes",
    "pcpad.commands.figures.canvas": "pcpad.tasks.pictures.plots",
}
# Names whose place is not that of their old module's other names.
NAMES: dict[str, str] = {
    # One function does all scaling by the ratio now; its arguments differ.
    "pcpad._border.quick_ratio": "pcpad._scaling.quickly_kept",
    "pcpad._border.scale_strips_": "pcpad._scaling.scaled",
    "pcpad._border.strips_pay": "pcpad._scaling.kept_for",
    # pcpad.commands
    "pcpad.commands.comparison.grid.enter_grid": "pcpad.commands.comparison.grid_file.enter_grid",
    "pcpad.commands.comparison.grid.in_common": "pcpad.commands.comparison.grid_file.in_common",
    "pcpad.commands.comparison.grid.locked": "pcpad.files.locked",
    "pcpad.commands.comparison.grid.read_grid": "pcpad.commands.comparison.grid_file.read_grid",
    "pcpad.commands.comparison.report.REPORT_FILES": "pcpad.commands.comparison.written.REPORT_FILES",
    "pcpad.commands.comparison.report.write_report": "pcpad.commands.comparison.written.write_report",
    # pcpad.datamodules
    "pcpad.datamodules.centroids.check_sizes": "pcpad.datamodules.datasets.label_maps.check_sizes",
    "pcpad.datamodules.clips.Augmentation": "pcpad.datamodules.datasets.clips.ClipAugmentation",
    "pcpad.datamodules.datasets.clips.Augmentation": "pcpad.datamodules.datasets.clips.ClipAugmentation",
    "pcpad.datamodules.datasets.scenes.Augmentation": "pcpad.datamodules.datasets.scenes.SceneAugmentation",
    "pcpad.datamodules.datasets.video_lists.Row": "pcpad.datamodules.datasets.video_lists.VideoRow",
    "pcpad.datamodules.folders.LabelledFiles": "pcpad.datamodules.datasets.image_folders.LabeledFiles",
    "pcpad.datamodules.folders.LabelledImages": "pcpad.datamodules.datasets.image_folders.LabeledImages",
    "pcpad.datamodules.folders.Transform": "pcpad.datamodules.datasets.transforms.Transform",
    "pcpad.datamodules.folders.UnlabelledImages": "pcpad.datamodules.datasets.image_folders.UnlabeledImages",
    "pcpad.datamodules.folders.scan_split": "pcpad.datamodules.datasets.image_folders.scan_split",
    "pcpad.datamodules.images.MAX_PIXELS": "pcpad.pictures.MOST_PIXELS",
    "pcpad.datamodules.scenes.Augmentation": "pcpad.datamodules.datasets.scenes.SceneAugmentation",
    # pcpad.tasks
    "pcpad.tasks.callbacks.files.atomic_writer": "pcpad.files.whole_file",
    "pcpad.tasks.callbacks.inpainting_table.InpaintingTable": "pcpad.tasks.evaluation.files.EvaluationFiles",
    # pcpad.commands
    "pcpad.commands.checkpoint.differences": "pcpad.commands.checkpoint.changed_settings",
    "pcpad.commands.comparison.files.write_whole": "pcpad.files.write_text",
    "pcpad.commands.figures.seams.Crop": "pcpad.commands.figures.seams.SeamCrop",
}
# British spellings, by module: each is found there and at the module's own old paths.
SPELLINGS: dict[str, dict[str, str]] = {
    "pcpad.commands.benching.timing": {"synchronise": "synchronize"},
    "pcpad.commands.comparison.statistics": {"summarise": "summarize"},
    "pcpad.datamodules.datasets.cityscapes_labels": {"CLASS_COLOURS": "CLASS_COLORS"},
    "pcpad.datamodules.datasets.clips": {"centre_view": "center_view"},
    "pcpad.datamodules.datasets.image_folders": {
        "LabelledFiles": "LabeledFiles",
        "LabelledImages": "LabeledImages",
        "UnlabelledImages": "UnlabeledImages",
    },
    "pcpad.datamodules.datasets.kinetics_splits": {"load_unlabelled": "load_unlabeled"},
    "pcpad.datamodules.datasets.panoptic_scenes": {"COLOURS": "COLORS"},
    "pcpad.datamodules.samples.street_canvas": {"Colour": "Color"},
    "pcpad.metrics.border": {"centred_rectangle": "centered_rectangle"},
    "pcpad.models.spade": {"initialise_gan": "initialize_gan"},
    "pcpad.models.weights": {"initialise": "initialize"},
    "pcpad.tasks.pictures.segmentation": {"ERROR_COLOURS": "ERROR_COLORS"},
}
for _place in (*SPELLINGS, *(old for old, new in MODULES.items() if new in SPELLINGS)):
    _module = MODULES.get(_place, _place)
    NAMES |= {f"{_place}.{_old}": f"{_module}.{_new}" for _old, _new in SPELLINGS[_module].items()}

# Values of options, by option and old value.
VALUES: dict[tuple[str, str], str] = {("val_clip", "centre"): "center"}

REMOVED = "0.3.0"
"""The first version without any of these. What moves later gets a table of its own."""

_warned: set[str] = set()


def present_path(path: str) -> str:
    """The present spelling of an import path; nothing is imported.

    Args:
        path: Of a module or of a name in one, old or not.

    Returns:
        Where it is now; paths that were not renamed come back as they are.

    Example:
        >>> present_path("pcpad.tasks.evaluators.Tile")
        'pcpad.tasks.evaluation.evaluators.Tile'
    """
    if path in NAMES or path in MODULES:
        return NAMES.get(path) or MODULES[path]
    module, _, name = path.rpartition(".")
    return f"{present_path(module)}.{name}" if module else path


def with_present_paths(settings: Any) -> Any:
    """Settings from a checkpoint, in which every class path is spelled as it is now; old spellings warn.

    Args:
        settings: Dicts and lists of plain values.

    Returns:
        The same, with other `class_path` and `_class_path` where classes have moved, and other values of `VALUES`.
    """
    if isinstance(settings, (list, tuple)):
        return type(settings)(with_present_paths(value) for value in settings)
    if not isinstance(settings, Mapping):
        return settings
    changed = {}
    for key, value in settings.items():
        if key in ("class_path", "_class_path") and isinstance(value, str) and present_path(value) != value:
            _warn(value, present_path(value), stacklevel=2)
            changed[key] = present_path(value)
        else:
            changed[key] = with_present_paths(present_value(key, value))
    return changed


def present_value(option: str, value: Any, stacklevel: int = 1) -> Any:
    """The present spelling of an option's value; old spellings warn.

    Args:
        option: The option's name, without what it is an option of.
        value: Its value.
        stacklevel: Whose line is shown: 1 the caller's, 2 its caller's.

    Returns:
        The value as it is called now; values that were not renamed come back as they are.
    """
    new = VALUES.get((option, value)) if isinstance(value, str) else None
    if new is None:
        return value
    _warn(f'{option}="{value}"', f'{option}="{new}"', stacklevel=stacklevel + 1)
    return new


def _warn(old: str, new: str, stacklevel: int) -> None:
    """Say once what something is called now."""
    if old not in _warned:
        _warned.add(old)
        message = f"{old} is called {new} now; the old name will be removed in pcpad {REMOVED}."
        warnings.warn(message, FutureWarning, stacklevel=stacklevel + 1)


def moved(module: str, name: str) -> Any:
    """Look up a name that has moved out of a module that still exists, for its `__getattr__`, with a warning.

    Args:
        module: The module's `__name__`.
        name: The requested name.

    Returns:
        The object under its present name.

    Raises:
        AttributeError: There never was such a name.
    """
    old = f"{module}.{name}"
    if old not in NAMES:
        message = f"module {module!r} has no attribute {name!r}"
        raise AttributeError(message)
    home, _, present = NAMES[old].rpartition(".")
    value = getattr(import_module(home), present)
    _warn(old, NAMES[old], stacklevel=3)
    return value


class _MovedModule(ModuleType):
    """The result of `import old.path`: the very objects of the module that is elsewhere now."""

    def __getattr__(self, name: str) -> Any:
        old = f"{self.__name__}.{name}"
        if old not in NAMES:
            return getattr(import_module(present_path(self.__name__)), name)
        return moved(self.__name__, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("__") and not isinstance(value, ModuleType):  # these are set by importing
            message = f"Setting {name} here would change nothing: {self.__name__} is {present_path(self.__name__)} now."
            raise AttributeError(message)
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        kept = [name.rpartition(".")[2] for name in NAMES if name.rpartition(".")[0] == self.__name__]
        return sorted({*dir(import_module(present_path(self.__name__))), *kept})


class _MovedLoader:
    """Makes a `_MovedModule`."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _MovedModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        present = import_module(present_path(module.__name__))
        module.__doc__ = present.__doc__
        public = [name for name in dir(module) if not name.startswith("_")]
        module.__all__ = getattr(present, "__all__", public)  # type: ignore[attr-defined]  # for `import *`
        _warn(module.__name__, present_path(module.__name__), stacklevel=2)


class _Finder:
    """Finds modules that have moved. It is asked last, so that no other import is slower for it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in MODULES:
            return None
        return ModuleSpec(fullname, _MovedLoader(), is_package=True)  # type: ignore[arg-type]  # so that modules in it are looked for


if not any(type(finder).__name__ == _Finder.__name__ for finder in sys.meta_path):  # reloading installs no second one
    sys.meta_path.append(_Finder())
