"""The metrics of an unfinished training epoch, in types that load from a checkpoint without running code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from pcpad.tasks.callbacks.restoring import OddStateError, refuse_odd

__all__ = ["running_metrics", "set_running_metrics"]

_LOGGED = ("prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx", "metric_attribute")


def running_metrics(trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
    """Copy what has been measured so far: averages that `self.log` gathers over an epoch, and states of metrics.

    Args:
        trainer: In training, at the end of a step.
        pl_module: The module with the metrics.

    Returns:
        Copies, for this process.
    """
    for module in pl_module.modules():
        if isinstance(module, MetricCollection):
            module.items()  # its metrics may share states; this gives each its own
    metrics = {name: _state(module) for name, module in pl_module.named_modules() if isinstance(module, Metric)}
    return {
        "metrics": {name: state for name, state in metrics.items() if state["updates"]},
        "logged": [_logged(item) for item in trainer.fit_loop.epoch_loop._results.values() if not item.has_reset],
    }


def set_running_metrics(trainer: Trainer, pl_module: LightningModule, state: Mapping[str, Any]) -> None:
    """Restore what has been measured so far.

    Args:
        trainer: In training, before any step.
        pl_module: The module with the metrics.
        state: What `running_metrics` returned.
    """
    device = trainer.strategy.root_device
    metrics = {name: module for name, module in pl_module.named_modules() if isinstance(module, Metric)}
    for name in metrics.keys() & state["metrics"].keys():
        _set_state(metrics[name], state["metrics"][name], device)
    results = trainer.fit_loop.epoch_loop._results
    for kept in state["logged"]:
        options = dict(kept["options"])
        refuse_odd(dict.fromkeys(_LOGGED, True) | {"metric_attribute": None, "sync_dist": True}, options, "its options")
        attribute = options["metric_attribute"]
        if attribute is not None and attribute not in metrics:
            continue
        value = torch.zeros((), device=device) if attribute is None else metrics[attribute]
        options["reduce_fx"] = getattr(torch, options["reduce_fx"])
        results.log(kept["fx"], kept["name"], value, batch_size=1, sync_dist_fn=trainer.strategy.reduce, **options)
        item = results[f"{kept['fx']}.{kept['name']}"]
        for name, tensor in kept["values"].items():
            refuse_odd(0.0, tensor, f"{kept['name']}.{name}")
            setattr(item, name, torch.as_tensor(tensor).to(device))
        if attribute is None:
            item._computed = None


def _logged(item: Any) -> dict[str, Any]:
    """One entry of Lightning's collection of logged values."""
    meta, values = item.meta, {}
    for name in ("value", "cumulated_batch_size", "_forward_cache"):
        if isinstance(getattr(item, name, None), Tensor):
            values[name] = getattr(item, name).detach().clone().cpu()
    options = {name: getattr(meta, name) for name in _LOGGED}
    options |= {"reduce_fx": meta.reduce_fx.__name__, "sync_dist": meta.sync.should}
    options["rank_zero_only"] = meta.sync.rank_zero_only
    return {"fx": meta.fx, "name": meta.name, "options": options, "values": values}


def _state(metric: Metric) -> dict[str, Any]:
    values = {name: _copied(getattr(metric, name)) for name in metric._defaults}
    return {"updates": metric._update_count, "values": values}


def _copied(value: Any, device: torch.device | str = "cpu") -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone().to(device)
    return [_copied(part, device) for part in value]


def _set_state(metric: Metric, state: Mapping[str, Any], device: torch.device) -> None:
    refuse_odd({"updates": 0, "values": {}}, state, type(metric).__name__)
    for name in metric._defaults.keys() & state["values"].keys():
        if isinstance(metric._defaults[name], Tensor) != isinstance(state["values"][name], Tensor):
            message = f"expected {type(metric).__name__}.{name} to be of the kind that the metric keeps"
            raise OddStateError(message)
        setattr(metric, name, _copied(state["values"][name], device))
    metric._update_count = state["updates"]
    metric._computed = None
