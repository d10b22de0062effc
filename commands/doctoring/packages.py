"""Which packages are installed, and whether their versions go together."""

from __future__ import annotations

import platform
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import TYPE_CHECKING

import pcpad
from pcpad.commands.doctoring.folders import short
from pcpad.commands.doctoring.sections import Section
from pcpad.commands.versions import MATTER, installed, opencv_packages

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["extras", "look_at_extras", "look_at_packages", "stated_requirements"]

_OLDEST_PYTHON = (3, 11)
_MALICIOUS = {("lightning", "2.6.2"), ("lightning", "2.6.3")}
# Not for those who use pcpad, but for those who change it.
_FOR_DEVELOPERS = ("test", "interop")
_RELEASE = re.compile(r"(\d+)\.(\d+)")


def look_at_packages() -> Section:
    """The versions that matter, and conflicts between them."""
    section = Section("Packages")
    section.add("pcpad", f"{pcpad.__version__} in {short(Path(pcpad.__file__).parent)}")
    section.add("Python", f"{platform.python_version()} ({sys.executable}), {platform.platform()}")
    if sys.version_info < _OLDEST_PYTHON:
        section.fault(f"Python {platform.python_version()} is too old", "install Python 3.11 or later")
    for package in MATTER:
        name = (opencv_packages() or [package])[0] if package == "opencv" else package
        section.add(name, installed(name) or "missing")
    _look_at_requirements(section)
    _look_at_malice(section)
    _look_at_torchvision(section)
    _look_at_twins(section)
    return section


def look_at_extras() -> Section:
    """The optional extras, and how to install them."""
    section = Section("Extras")
    for extra, packages in extras().items():
        missing = sorted(package for package in packages if installed(package) is None)
        have = [f"{package} {installed(package)}" for package in packages if package not in missing]
        said = ", ".join(have)
        if missing:
            lacks = f"lacks {', '.join(missing)}: pip install 'pcpad[{extra}]'"
            said = f"{said}; {lacks}" if said else lacks
        section.add(extra, said)
    return section


def stated_requirements() -> list[str]:
    """The requirements that pcpad states, extras included: of the checkout, else of the installed package."""
    file = Path(pcpad.__file__).resolve().parent.parent / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == "pcpad":
            optional = project.get("optional-dependencies", {})
            marked = [f"{one}; extra == '{extra}'" for extra, given in optional.items() for one in given]
            return [*project.get("dependencies", []), *marked]
    try:
        return requires("pcpad") or []
    except PackageNotFoundError:
        return []


def extras() -> dict[str, list[str]]:
    """The packages of each extra that is for users."""
    found: dict[str, list[str]] = {}
    for line in stated_requirements():
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        name = re.match(r"[\w.-]+", line)
        if extra is not None and name is not None and extra[1] not in _FOR_DEVELOPERS:
            found.setdefault(extra[1], []).append(name[0])
    return found


def _look_at_requirements(section: Section) -> None:
    """Compare the installed versions with the requirements of pcpad and of its dependencies."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        section.fault(
            "the package packaging is missing, which lightning needs", "pip install packaging; versions were not held"
        )
        return
    stated = {"pcpad": stated_requirements()}
    if not stated["pcpad"]:
        section.warn("pcpad is not installed, so that its requirements are not known", "pip install . in its folder")
    for package in MATTER:
        for name in opencv_packages() if package == "opencv" else [package]:
            if installed(name) is not None:
                stated[name] = _required_by(name)
    for package, lines in stated.items():
        for line in lines:
            try:
                needed = Requirement(line)
            except InvalidRequirement:
                continue
            _hold(section, package, needed)


def _required_by(package: str) -> list[str]:
    try:
        return requires(package) or []
    except (PackageNotFoundError, OSError, ValueError):
        return []


def _hold(section: Section, package: str, needed: Requirement) -> None:
    if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
        return
    have = installed(needed.name)
    if have is None and needed.name.startswith("opencv") and package != "pcpad" and opencv_packages():
        return  # another package with the same module; which of them to have is said by pcpad's own requirement
    bounds = str(needed.specifier)
    if have is None:
        others = opencv_packages() if needed.name.startswith("opencv") else []
        if others:
            section.warn(
                f"{package} needs {needed.name}; {others[0]} is here, which has the same module",
                f"pip uninstall -y {others[0]} && pip install {needed.name}",
            )
            return
        section.fault(f"{needed.name} is missing, which {package} needs", f"pip install '{needed.name}{bounds}'")
    elif not needed.specifier.contains(have, prereleases=True):
        section.fault(
            f"{package} needs {needed.name} {bounds}, and {have} is installed",
            f"pip install '{needed.name}{bounds}'" + ("" if package == "pcpad" else f", or another {package}"),
        )


def _look_at_malice(section: Section) -> None:
    for package, version in _MALICIOUS:
        if installed(package) == version:
            section.fault(
                f"{package} {version} is malicious: the index removed it",
                "uninstall it, and change every key and password that this machine could reach",
            )


def _look_at_torchvision(section: Section) -> None:
    """Each torchvision is built for one torch: 0.(N + 15) for 2.N, and for the same platform."""
    torch, vision = installed("torch"), installed("torchvision")
    if torch is None or vision is None:
        return
    found, other = _RELEASE.match(torch), _RELEASE.match(vision)
    if found is None or other is None:
        return
    (major, minor), (vision_major, vision_minor) = (tuple(map(int, one.groups())) for one in (found, other))
    if (major, vision_major) == (2, 0) and vision_minor != minor + 15:
        section.fault(
            f"torchvision {vision} is built for torch 2.{vision_minor - 15}, and torch {torch} is installed",
            f"pip install 'torchvision==0.{minor + 15}.*' from where torch was installed",
        )
    builds = [version.partition("+")[2] for version in (torch, vision)]
    if all(builds) and builds[0] != builds[1]:
        section.warn(
            f"torch {torch} and torchvision {vision} are built for different platforms",
            f"install both from one index: --index-url https://download.pytorch.org/whl/{builds[0]}",
        )


def _look_at_twins(section: Section) -> None:
    """Find packages that share a module's name and so overwrite each other's files."""
    _refuse_twins(section, "cv2", opencv_packages(), "opencv-python-headless")
    both = [name for name in ("albumentations", "albumentationsx") if installed(name) is not None]
    _refuse_twins(section, "albumentations", both, "albumentations")
    apart = [installed(name) for name in ("lightning", "pytorch-lightning")]
    if all(apart) and apart[0] != apart[1]:
        section.warn(
            f"lightning {apart[0]} and pytorch-lightning {apart[1]} are two versions of one library, whose classes do "
            "not take each other's",
            f"pip install 'pytorch-lightning=={apart[0]}'",
        )


def _refuse_twins(section: Section, module: str, packages: Iterable[str], keep: str) -> None:
    names = list(packages)
    if len(names) > 1:
        section.warn(
            f"{' and '.join(names)} each have files of the module {module}: whichever came last is used",
            f"pip uninstall -y {' '.join(names)} && pip install {keep}",
        )
