"""LightningCLI for one verb, with the suite's loggers, callbacks and precedence of settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter, LearningRateMonitor, ProgressBar
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from pcpad.bounded_yaml import bound_jsonargparse
from pcpad.commands.checkpoint import changed_settings, run_values
from pcpad.commands.habits import check_habits, early_stopping, further_loggers, logger_words
from pcpad.commands.outputs import checkpoint_files, named_files, run_files
from pcpad.commands.run_options import add_run_options, with_present_paths
from pcpad.commands.starting import Began, Start
from pcpad.datamodules.base import DataModule
from pcpad.datamodules.worker_processes import prepare_server
from pcpad.errors import UserValueError
from pcpad.files import at_home, refuse_replacing
from pcpad.tasks.base import Task
from pcpad.tasks.callbacks.checkpoint import BestAndLast
from pcpad.tasks.callbacks.checkpoint_files import write_whole_checkpoints
from pcpad.tasks.callbacks.interruption import Interruption
from pcpad.tasks.callbacks.last_state import LastState
from pcpad.tasks.callbacks.own_files import OwnFiles
from pcpad.tasks.callbacks.per_image import PerImage
from pcpad.tasks.callbacks.prediction_writer import PredictionWriter
from pcpad.tasks.callbacks.progress import ShownProgress
from pcpad.tasks.callbacks.randomness import RandomState
from pcpad.tasks.callbacks.restoring import SoundStates
from pcpad.tasks.callbacks.resume import OptimizerOnResume
from pcpad.tasks.callbacks.run_values import RunValues
from pcpad.tasks.callbacks.sample_images import SampleImages
from pcpad.terminal import escaped_stderr, is_unicode, say
from pcpad.trust import Trust

__all__ = ["SuiteCLI"]


class SuiteCLI(LightningCLI):
    """LightningCLI for one verb, in which a checkpoint's settings rank below configs, and these below what is typed.

    Args:
        verb: The trainer's method to run; only its parser is built, the other three would take as long again each.
        args: The arguments after the verb, configs resolved.
        name: The run's name, under `runs/`; the task's when not given.
        remembered: The checkpoint's settings, see `pcpad.commands.checkpoint.remembered`.
        trust: What it may name; None without a checkpoint.
        configs: The configuration files among the arguments.
        on_training: Called when the first training batch starts.
    """

    def __init__(
        self,
        verb: str,
        args: list[str],
        name: str | None,
        remembered: dict[str, Any],
        trust: Trust | None = None,
        configs: Sequence[Path] = (),
        on_training: Callable[[], None] | None = None,
    ) -> None:
        self.verb = verb
        self.name = name
        self.remembered = remembered
        self._watch = trust.watch if trust is not None else nullcontext
        bound_jsonargparse()
        self.configs = list(configs)
        # As a first config, whatever comes later on the command line outranks it.
        front = ["--config", json.dumps(remembered)] if remembered else []
        self.start = Start(on_training)
        try:
            super().__init__(
                LightningModule,
                LightningDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                seed_everything_default=0,
                auto_configure_optimizers=False,
                save_config_kwargs={"overwrite": True},
                parser_kwargs={"prog": "pcpad"},
                args=[verb, *front, *args],
            )
        except BaseException:
            rank_zero_only(self.start.undo)()
            raise

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # static there, one for all verbs
        """The one verb, and the trainer's arguments that are no options: code in checkpoints is never run."""
        return {self.verb: LightningCLI.subcommands()[self.verb] | {"weights_only"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what a recipe states beside model, data and trainer."""
        add_run_options(parser, self.verb)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse, then say where the run departs from its checkpoint."""
        quiet = {"predict": {"return_predictions": False}, "test": {"verbose": False}, "validate": {"verbose": False}}
        self._subcommand_parsers[self.verb].set_defaults(quiet.get(self.verb, {}))
        with self._watch(), escaped_stderr():
            self.config = with_present_paths(parser.parse_args(cast(list[str], args)))
            check_habits(self.config[self.verb])
            used = parser.dump(self.config, skip_none=False, skip_validation=True, format="json")
        for line in changed_settings(self.remembered, json.loads(used)[self.verb]):
            _say(f"Differs from the checkpoint: {line}")

    def _set_seed(self) -> None:
        """Refuse seeds that NumPy does not take."""
        seed = self._get(self.config, "seed_everything")
        if type(seed) is int and not 0 <= seed < 2**32:
            message = f"Expected --seed_everything to be in 0 to {2**32 - 1}, or true or false, but got {seed}"
            raise UserValueError(message)
        super()._set_seed()

    def _parse_ckpt_path(self) -> None:
        """Do nothing: Lightning's version would let the checkpoint outrank what the user typed."""

    def before_instantiate_classes(self) -> None:
        """Build the network for the data's classes and channels where their numbers were not given."""
        config = self.config[self.verb]
        model, data = (config.get(name) for name in ("model", "data"))
        given = model.get("init_args") if model is not None else None
        if given is None or data is None or not data.get("class_path"):
            return
        offers = {"num_classes": "num_classes", "in_channels": "channels"}
        unsaid = {name: offer for name, offer in offers.items() if given.get(name, 0) is None}
        if not unsaid:
            return
        home, _, name = str(data.class_path).rpartition(".")
        kind = getattr(import_module(home), name, None)
        if not (isinstance(kind, type) and issubclass(kind, DataModule)):
            return
        with self._watch():
            module = kind(**data.init_args.as_dict())
        module.look_for_classes()
        for name, offer in unsaid.items():
            count = getattr(module, offer)
            if count:
                given[name] = count

    def instantiate_classes(self) -> None:
        """Give a data module that keeps no hyper-parameters its configuration as such.

        Its checkpoints then say what they were trained on, and `pcpad test --ckpt_path` needs nothing else.
        """
        with self._watch():
            super().instantiate_classes()
        prepare_server(type(self.datamodule).__module__)
        if self.verb in ("test", "predict") and not self._get(self.config_init, "untrained"):
            self._refuse_untrained()
        config = self.config_dump.get("data")
        if self.datamodule is not None and not self.datamodule.hparams and config:
            kept = {"_class_path": config["class_path"], **config.get("init_args", {})}
            self.datamodule.save_hyperparameters(kept, logger=False)
        evaluators = self._get(self.config_init, "eval") if self.verb == "test" else None
        if evaluators:
            if not isinstance(self.model, Task):
                message = f"--eval is for tasks; {_lacks(self.model, 'use_evaluators')}"
                raise UserValueError(message)
            self.model.use_evaluators(evaluators)
        if self.verb == "predict":
            self._use_tiling()

    def _use_tiling(self) -> None:
        options = {key: self._get(self.config_init, f"tiling.{key}") for key in ("size", "overlap", "margin")}
        if all(value is None for value in options.values()):
            return
        if not isinstance(self.model, Task):
            message = f"--tiling is for tasks; {_lacks(self.model, 'use_tiling')}"
            raise UserValueError(message)
        self.model.use_tiling(**options)

    def _refuse_untrained(self) -> None:
        """Refuse to test or apply a network with random weights, whose results would mean nothing."""
        if self._get(self.config_init, "ckpt_path"):
            return
        name = type(self.model).__name__
        random = self.model.random_parts if isinstance(self.model, Task) else None
        if random is None:
            rank_zero_warn(f"No --ckpt_path: {name} runs with the weights that it was built with, which may be random")
        elif random:
            message = (
                f"{name} would run with random weights in its {', '.join(random)}: name a checkpoint (--ckpt_path "
                "FILE) or, where the task has it, --model.weights FILE; --untrained runs it all the same"
            )
            raise UserValueError(message)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Add the loggers, the progress bar and the callbacks that every run has, unless they were declined."""
        options = self._get(self.config_init, "trainer")
        if options.get("logger") in (None, True):
            name = self.name or type(self.model).__name__.removesuffix("Task").lower()
            words = logger_words(self.config[self.verb])
            kwargs["logger"] = _loggers(options.get("default_root_dir") or "runs", name, self.start, words)
        elif options.get("default_root_dir"):
            self.start.watch(options["default_root_dir"])
        trainer = super().instantiate_trainer(**kwargs)
        write_whole_checkpoints(trainer)
        for logger in trainer.loggers:
            self.start.take(logger)
        return trainer

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        given = config.get("callbacks") or []
        given = given if isinstance(given, list) else [given]
        callbacks = [*self._callbacks(config), *callbacks]
        if self.verb == "fit":
            callbacks += early_stopping(self.config[self.verb], given)
        if self.verb != "fit" or config.get("enable_checkpointing") is False:
            callbacks = [callback for callback in callbacks if not isinstance(callback, BestAndLast)]
        for callback in given:
            # A writer named to set its options still writes where --output says.
            if isinstance(callback, BasePredictionWriter) and vars(callback).get("output", "") is None:
                callback.output = self._get(self.config_init, "output")  # type: ignore[attr-defined]
        kinds = {type(callback) for callback in given}
        if any(isinstance(callback, ProgressBar) for callback in given):
            kinds.add(ShownProgress)
        extra = [callback for callback in callbacks if type(callback) not in kinds]
        return super()._instantiate_trainer(config, extra)

    def _callbacks(self, config: dict[str, Any]) -> list[Callback]:
        callbacks: list[Callback] = [Began(self.start), SoundStates()]
        if config.get("enable_progress_bar") is not False and not config.get("barebones"):
            callbacks.append(ShownProgress())
        if self.verb == "fit":
            values = run_values(self.config_dump)
            callbacks += [
                OwnFiles(),
                OptimizerOnResume(),
                RandomState(),
                Interruption(),
                LastState(),
                RunValues(values),
            ]
            if config.get("logger") is not False:
                callbacks.append(LearningRateMonitor())
        task = self.model if isinstance(self.model, Task) else None
        if self.verb == "test" and task is not None:
            from pcpad.tasks.evaluation.files import EvaluationFiles

            callbacks.append(EvaluationFiles())
        per_image = self._get(self.config_init, "per_image") if self.verb == "test" else None
        if per_image is not None:
            callbacks.append(self._per_image(per_image))
        pictures = self.verb in ("fit", "test") and task is not None
        if pictures and config.get("logger") is not False and not config.get("barebones"):
            callbacks.append(SampleImages())
        if self.verb == "predict":
            callbacks += self._prediction_writer(task, bool(config.get("callbacks")))
        return callbacks

    def _per_image(self, output: str) -> Callback:
        """The callback that writes the scores of single samples; a model without such scores is refused early."""
        if not isinstance(self.model, Task):
            message = f"--per_image is for tasks; {_lacks(self.model, 'item_metric')}"
            raise UserValueError(message)
        writer = PerImage(output)
        self.start.watch(writer.path.parent)
        return writer

    def _prediction_writer(self, task: Task | None, has_callbacks: bool) -> list[Callback]:
        """The callback that writes the predictions; if there is none, that is refused before any work."""
        output = self._get(self.config_init, "output")
        writer = task.prediction_writer(output) if task is not None else None
        if writer is not None:
            return [writer]
        if has_callbacks and output is None:
            return []  # one of them may be a writer
        message = (
            f"Nothing would write the predictions: {_lacks(self.model, 'prediction_writer')}; or name a writer with "
            "--trainer.callbacks"
        )
        raise UserValueError(message)

    def _refuse_replacing(self, log_folder: str | None) -> None:
        """Refuse to write over any file that was named, and have the writer of predictions do so, too."""
        inputs = [*self.configs, *named_files(self.config_dump)]
        output = self._get(self.config_init, "output") if self.verb == "predict" else None
        if output is not None:
            self.start.watch(output)
            refuse_replacing([at_home(output)], inputs)
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, PerImage):
                refuse_replacing([callback.path, callback.sheet], inputs, "--per_image FILE")
        written = run_files(log_folder)
        refuse_replacing(written, inputs, "--trainer.default_root_dir FOLDER")
        if self.verb == "fit":
            # A resumed run may replace what it resumes from, which is whole at any time.
            resumed = self._get(self.config_init, "ckpt_path")
            others = [path for path in inputs if resumed is None or not path.samefile(resumed)]
            folder = self.config_dump["checkpoint"]["dirpath"]
            refuse_replacing(checkpoint_files(folder, log_folder), others, "--checkpoint.dirpath FOLDER")
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, PredictionWriter):
                callback.protected = inputs

    def _run_subcommand(self, subcommand: str) -> None:
        log_folder = self.trainer.log_dir
        self._refuse_replacing(log_folder)
        _say(f"Results go to {log_folder}")
        super()._run_subcommand(subcommand)


def _loggers(folder: str | Path, name: str, start: Start, words: Sequence[str]) -> list[Logger]:
    """CSV and, if asked for, TensorBoard's logs in one folder, which is this run's alone; and services' loggers."""
    logs = CSVLogger(str(folder), name=name)
    if "tensorboard" not in words:
        start.take(logs)
        return [logs, *further_loggers(words, folder, name)]
    board = TensorBoardLogger(str(folder), name=name)
    if not is_unicode(board.root_dir):  # TensorBoard writes to no other
        start.take(logs)
        _say(f"No TensorBoard logs: the name of {logs.log_dir} is not UTF-8. metrics.csv has the same numbers.")
        return [logs, *further_loggers(words, folder, name)]
    start.take(board)
    # Left to itself the second would find the first one's new folder and count one further.
    logs = CSVLogger(str(folder), name=name, version=board.version)
    return [board, logs, *further_loggers(words, folder, name)]


def _lacks(model: LightningModule, method: str) -> str:
    """Say what a class would need to be applied by a verb."""
    name = type(model).__name__
    if isinstance(model, Task):
        return f"{name} has no `{method}` of its own"
    return f"{name} is a plain LightningModule and lacks `{method}`: derive it from pcpad.tasks.base.Task"


_say = rank_zero_only(say)
