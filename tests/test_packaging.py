"""What is installed agrees with what the project says of itself."""

import ast
import configparser
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import gsocc

ROOT = Path(__file__).resolve().parents[1]
OURS = {"gsocc", "occ_stage", "pose_stage"}


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def requirements(text: str) -> dict[str, str]:
    lines = [line.split(";")[0].split("#")[0].strip() for line in text.splitlines()]
    found = [re.match(r"([\w.-]+)\s*(?:>=|==)?\s*([\w.]*)", line) for line in lines if line]
    return {match[1].lower(): match[2] for match in found if match}


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_the_version_is_written_once_in_effect() -> None:
    assert setup_cfg()["metadata"]["version"] == gsocc.__version__


def test_the_pinned_set_satisfies_the_lower_bounds() -> None:
    pins = requirements((ROOT / "constraints.txt").read_text())
    options = setup_cfg()["options"]
    extras = setup_cfg()["options.extras_require"]
    for text in (options["install_requires"], *extras.values()):
        for name, lowest in requirements(text).items():
            if name in pins and lowest:
                assert as_numbers(pins[name]) >= as_numbers(lowest), name


def test_what_is_imported_is_required() -> None:
    """A package that comes along with another today may not tomorrow."""
    options, extras = setup_cfg()["options"], setup_cfg()["options.extras_require"]
    declared = set(requirements("\n".join([options["install_requires"], *extras.values()])))
    providers = packages_distributions()
    for package in ("gsocc", "pose_stage", "occ_stage", "tools"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                for name in {name.split(".")[0] for name in found} - set(sys.stdlib_module_names) - OURS:
                    names = {other.lower() for other in providers.get(name, [name])}
                    assert names & declared, f"{path.relative_to(ROOT)} imports {name}, which setup.cfg does not name"


def test_torch_is_pinned_and_torchvision_is_nowhere() -> None:
    """A torchvision beside the CPU build of torch breaks torchmetrics, lightning and transformers."""
    assert requirements((ROOT / "constraints.txt").read_text())["torch"] == "2.13.0"
    assert "torchvision" not in (ROOT / "setup.cfg").read_text()
    assert "opencv-python\n" not in (ROOT / "setup.cfg").read_text()


def test_the_licence_is_the_whole_apache_licence() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.lstrip().startswith("Apache License")
    assert "END OF TERMS AND CONDITIONS" in text
    assert len(text) > 11000


def test_the_setup_script_is_valid_shell_and_names_the_pinned_torch() -> None:
    script = ROOT / "tools" / "setup.sh"
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
    text = script.read_text()
    assert "torch=$(grep '^torch==' constraints.txt)" in text
    assert all('"$torch"' in line for line in text.splitlines() if "pip install" in line)
    assert "http" not in text


def test_no_file_of_ours_reads_pickles_or_evaluates_text() -> None:
    banned = re.compile(r"allow_pickle=True|\bpickle\.\w|\beval\(|yaml\.unsafe_load|weights_only=False")
    for package in ("gsocc", "pose_stage", "occ_stage", "tools"):
        for path in (ROOT / package).rglob("*.py"):
            found = banned.search(re.sub(r"\.eval\(", "", path.read_text()))
            assert not found, f"{path.relative_to(ROOT)}: {found[0]}"
