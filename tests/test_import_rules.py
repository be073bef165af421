"""Who may import whom: the table of docs/architecture.md, held against the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Open to all: they import nothing of ours but each other.
LEAVES = {"errors", "files", "progress", "labels", "config"}

# What each room of gsocc may import besides itself and the leaves.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "progress": set(),
    "labels": set(),
    "config": set(),
    "command_line": set(),
    "structures": set(),
    "kernels": set(),
    "geometry": {"structures"},
    "datasets": {"structures", "geometry", "kernels"},
    "fields": {"structures", "geometry"},
    "losses": {"structures", "geometry"},
    "metrics": {"structures", "geometry", "kernels"},
    "networks": {"structures", "geometry", "fields"},
    "renderers": {"structures", "geometry", "fields.base", "fields.ray_rules", "kernels"},
    "labelling": {"datasets"},
    "engine": set(),
    "interop": {"structures", "geometry", "networks", "fields", "renderers"},
    "viewer": {"structures", "geometry"},
    "app": {"*", "occ_stage", "pose_stage"},
}

# Heavy or optional packages, and the rooms that may import them.
HEAVY: dict[str, set[str]] = {
    "gsplat": {"renderers"},
    "open3d": {"datasets", "viewer"},
    "nuscenes": {"datasets"},
    "numba": {"kernels", "renderers"},
    "lightning": {"engine"},
    "tensorboard": {"engine"},
    "transformers": {"networks", "labelling"},
}
NOWHERE = {"torchvision", "timm", "dgp", "pickle", "mmcv", "mayavi", "nerfacc"}
# Only when a function needs them, so that a command starts at once and the library imports without extras.
LATE = {"gsplat", "open3d", "nuscenes", "lightning", "transformers"}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Yield the full name of everything imported, and whether it happens when the module is imported."""
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f) if n is not f}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            yield from ((f"{node.module}.{alias.name}", id(node) not in inside) for alias in node.names)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "gsocc").parts[0].removesuffix(".py")


def may_import(room: str, name: str) -> bool:
    if name.split(".")[0] in ("occ_stage", "pose_stage"):
        return name.split(".")[0] in ALLOWED[room]
    inner = name.removeprefix("gsocc.")
    target = inner.split(".")[0]
    if room == "__init__" or target in {room, "__version__"} | LEAVES or "*" in ALLOWED[room]:
        return True
    return any(inner == rule or inner.startswith(f"{rule}.") for rule in ALLOWED[room])


@pytest.mark.parametrize("path", sources("gsocc"), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_downwards(path: Path) -> None:
    room = room_of(path)
    assert room == "__init__" or room in ALLOWED, f"{room} has no row in the table"
    for name, _ in imports(ast.parse(path.read_text())):
        if name.split(".")[0] in ("gsocc", "occ_stage", "pose_stage", "tools", "tests"):
            assert may_import(room, name), f"gsocc.{room} may not import {name}"


@pytest.mark.parametrize("stage", ["occ_stage", "pose_stage"])
def test_a_stage_imports_neither_the_other_nor_the_top_floor(stage: str) -> None:
    other = {"occ_stage": "pose_stage", "pose_stage": "occ_stage"}[stage]
    for path in sources(stage):
        for name, _ in imports(ast.parse(path.read_text())):
            assert not name.startswith((other, "gsocc.app", "tools", "tests")), f"{path.name} imports {name}"


@pytest.mark.parametrize(
    "path", [*sources("gsocc"), *sources("occ_stage"), *sources("pose_stage")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_heavy_packages_are_imported_where_they_belong_and_late(path: Path) -> None:
    room = room_of(path) if path.is_relative_to(ROOT / "gsocc") else path.parent.name
    for name, at_import in imports(ast.parse(path.read_text())):
        package = name.split(".")[0]
        assert package not in NOWHERE, f"{path.name} imports {package}"
        assert room in HEAVY.get(package, {room}) | {"app"}, f"{package} belongs in {HEAVY[package]}, not in {room}"
        assert not (at_import and package in LATE), f"{path.name} imports {package} before it is needed"


def test_the_leaves_import_only_leaves() -> None:
    assert all(not ALLOWED[leaf] for leaf in LEAVES)


def test_grid_sample_is_called_in_geometry_alone() -> None:
    """Every call has to say the same align_corners; one file is easier to trust than twenty."""
    callers = {
        path.relative_to(ROOT).as_posix()
        for package in ("gsocc", "occ_stage", "pose_stage")
        for path in sources(package)
        if "grid_sample(" in path.read_text()
    }
    assert callers == {"gsocc/geometry/sampling.py"}
