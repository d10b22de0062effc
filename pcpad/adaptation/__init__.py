"""Convert trained networks to another padding, and measure their errors near borders.

Belongs here: code that needs a trained network and unlabeled photographs, in plain PyTorch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcpad.adaptation.border_results import BorderReport as BorderReport
    from pcpad.adaptation.borders import border_report as border_report
    from pcpad.adaptation.procedure import Procedure as Procedure
    from pcpad.adaptation.reach import Reach as Reach
    from pcpad.adaptation.reach import receptive_field as receptive_field
    from pcpad.adaptation.recovery import recover as recover
    from pcpad.adaptation.result import Recovery as Recovery

    __all__: list[str]
else:
    from pcpad._lazy import attach as _attach

    __getattr__, __dir__, __all__ = _attach(
        __name__,
        {
            "BorderReport": "pcpad.adaptation.border_results",
            "Procedure": "pcpad.adaptation.procedure",
            "Reach": "pcpad.adaptation.reach",
            "Recovery": "pcpad.adaptation.result",
            "border_report": "pcpad.adaptation.borders",
            "receptive_field": "pcpad.adaptation.reach",
            "recover": "pcpad.adaptation.recovery",
        },
    )
