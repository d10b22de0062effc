"""The results of the parts of `pcpad doctor`: lines to print, and problems."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Finding", "Section"]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong here.

    Args:
        text: What is wrong.
        advice: What to do.
        fatal: Whether pcpad does not work with it; otherwise it is a warning.
    """

    text: str
    advice: str
    fatal: bool = False


@dataclass
class Section:
    """A part of the report.

    Args:
        title: Its heading.
        lines: What stands there, each a name and a text.
        findings: What is wrong.
    """

    title: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def add(self, name: str, text: str) -> None:
        """Add a line."""
        self.lines.append((name, text))

    def fault(self, text: str, advice: str) -> None:
        """Add a problem that keeps pcpad from working."""
        self.findings.append(Finding(text, advice, fatal=True))

    def warn(self, text: str, advice: str) -> None:
        """Add a problem that does not keep pcpad from working."""
        self.findings.append(Finding(text, advice))
