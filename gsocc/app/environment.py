"""What this machine has: versions, devices, threads, extras."""

import importlib
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_INSTALL = 'pip install torch==2.13.0 -c constraints.txt -e ".[{extra}]"'

# Extra, its module, and what else may be missing where the package is installed and the import still fails.
_EXTRAS = (
    ("nuscenes", "nuscenes.nuscenes", ""),
    ("world,viewer", "open3d", "tools/setup.sh installs the system libraries that it needs"),
    ("cuda", "gsplat", ""),
    ("dev", "pytest", ""),
)
_PACKAGES = (
    "torch",
    "numpy",
    "opencv-python-headless",
    "lightning",
    "torchmetrics",
    "transformers",
    "numba",
    "safetensors",
    "pydantic",
    "typer",
)


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: What was looked at.
        detail: What was found.
        good: Whether it works.
        fix: What to do where it does not.
        required: False for what only some commands need.
    """

    name: str
    detail: str
    good: bool = True
    fix: str = ""
    required: bool = True


def inspect_environment() -> list[Finding]:
    """Return everything that a report of a problem should hold."""
    return [*_platform(), *_packages(), *_devices(), *_extras(_EXTRAS)]


def _platform() -> list[Finding]:
    version = platform.python_version_tuple()
    good = (int(version[0]), int(version[1])) in ((3, 11), (3, 12))
    fix = "" if good else "use Python 3.11 or 3.12"
    affinity = getattr(os, "sched_getaffinity", None)  # Linux: the processors that this process may use
    disk = shutil.disk_usage(Path.cwd()).free / 2**30
    return [
        Finding("python", f"{platform.python_version()}, {platform.platform()}", good, fix),
        Finding("processors", str(len(affinity(0)) if affinity else os.cpu_count())),
        Finding("free disk here", f"{disk:.0f} GiB", disk > 2, "" if disk > 2 else "a demo run needs about 2 GiB"),
    ]


def _packages() -> list[Finding]:
    findings = []
    for name in ("gsocc", *_PACKAGES):
        try:
            findings.append(Finding(name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            findings.append(Finding(name, "not installed", False, "make setup"))
    if _installed("torchvision"):
        fix = "pip uninstall torchvision"
        findings.append(Finding("torchvision", "installed; its CPU build breaks torchmetrics", False, fix))
    if _installed("opencv-python"):
        fix = "pip uninstall opencv-python opencv-python-headless, then make setup"
        findings.append(Finding("opencv-python", "two builds of cv2 overwrite each other", False, fix))
    return findings


def _devices() -> list[Finding]:
    import torch

    findings = [Finding("torch threads", str(torch.get_num_threads()))]
    if not torch.cuda.is_available():
        detail = f"none (torch {torch.__version__}); training runs on the CPU"
        return [*findings, Finding("CUDA device", detail)]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        detail = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        findings.append(Finding(f"CUDA device {index}", detail))
    return findings


def _extras(extras: Sequence[tuple[str, str, str]]) -> list[Finding]:
    findings = []
    for extra, module, libraries in extras:
        name = f"extra {extra}"
        install = _INSTALL.format(extra=extra)
        try:
            loaded = importlib.import_module(module)
        except ModuleNotFoundError:
            findings.append(Finding(name, f"{module} is not installed", False, install, required=False))
        except (ImportError, OSError) as error:
            detail = f"{module} does not load: {error}"
            findings.append(Finding(name, detail, False, libraries or install, required=False))
        else:
            findings.append(Finding(name, f"{module} {getattr(loaded, '__version__', '')}".strip()))
    return findings


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
