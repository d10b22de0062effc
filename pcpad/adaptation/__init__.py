"""Moving a trained network to another padding; how wrong a network is near borders."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcpad.adaptation.border_results import BorderReport as BorderReport
    from pcpad.adaptation.borders import border_report as border_report

    __all__: list[str]
else:
    from pcpad._lazy import attach as _attach

    __getattr__, __dir__, __all__ = _attach(
        __name__,
        {
            "BorderReport": "pcpad.adaptation.border_results",
            "border_report": "pcpad.adaptation.borders",
        },
    )
