"""Panoptic partial convolution: the layer, the plans that tell which windows mix ids, and the arithmetic of those.

This folder holds what depends on instance ids. What depends on masks alone is in `pcpad.functional`.
"""

from pcpad.panoptic.layer import PanopticPartialConv2d, panoptic_conv2d
from pcpad.panoptic.plan import PanopticPlan, panoptic_ids

__all__ = ["PanopticPartialConv2d", "PanopticPlan", "panoptic_conv2d", "panoptic_ids"]
