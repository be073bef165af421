"""PLY files, read back by a parser that knows nothing of ours."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gsocc.interop.ply import splat_properties, write_gaussians_ply, write_mesh_ply, write_points_ply
from gsocc.renderers import build_renderer
from gsocc.structures import CameraRig, Gaussians

_TYPES = {"float": "<f4", "uchar": "u1", "int": "<i4"}


def read_ply(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return the elements of a binary PLY (lists of three only) and its header lines."""
    data = path.read_bytes()
    end = data.index(b"end_header\n") + len(b"end_header\n")
    lines = data[:end].decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    elements: list[tuple[str, int, list]] = []
    for line in lines:
        words = line.split()
        if words[0] == "element":
            elements.append((words[1], int(words[2]), []))
        elif words[:2] == ["property", "list"]:
            elements[-1][2].extend([("count", _TYPES[words[2]]), (words[4], _TYPES[words[3]], 3)])
        elif words[0] == "property":
            elements[-1][2].append((words[2], _TYPES[words[1]]))
    arrays, at = {}, end
    for name, count, dtype in elements:
        arrays[name] = np.frombuffer(data, dtype, count, at)
        at += arrays[name].nbytes
    assert at == len(data)
    return arrays, lines


def _gaussians(count: int = 4) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    quats = torch.randn(1, count, 4, generator=generator)
    return Gaussians(
        means=torch.randn(1, count, 3, generator=generator) * 0.5 + torch.tensor([4.0, 0.0, 0.0]),
        quats=quats * 3.0,
        scales=0.1 + torch.rand(1, count, 3, generator=generator),
        opacities=torch.rand(1, count, generator=generator),
        features=torch.rand(1, count, 3, generator=generator),
    )


def test_the_properties_are_those_of_the_published_format_in_its_order() -> None:
    """graphdeco-inria/gaussian-splatting, `construct_list_of_attributes`: 62 floats with harmonics of degree 3."""
    names = splat_properties(3)
    assert len(names) == 62
    assert names[:9] == ("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2")
    assert names[9:54] == tuple(f"f_rest_{i}" for i in range(45))
    assert names[54:] == ("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")
    assert len(splat_properties(0)) == 17


def test_a_gaussian_is_stored_as_logit_logarithm_and_harmonic(tmp_path: Path) -> None:
    """By hand: opacity 0.5 has logit 0, scale e has logarithm 1, grey has no harmonic, white has 0.5 / 0.2820948."""
    one = Gaussians(
        means=torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]]),
        quats=torch.tensor([[[2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 3.0, 4.0]]]),
        scales=torch.full((1, 2, 3), math.e),
        opacities=torch.tensor([[0.5, 1.0]]),
        features=torch.zeros(1, 2, 0),
    )
    write_gaussians_ply(tmp_path / "g.ply", one, torch.tensor([[0.5, 1.0, 0.0], [0.5, 0.5, 0.5]]), comments=["by hand"])
    arrays, lines = read_ply(tmp_path / "g.ply")
    first, second = arrays["vertex"]
    assert [first[n].item() for n in ("x", "y", "z", "opacity", "scale_1")] == pytest.approx([1, 2, 3, 0, 1])
    assert [first[f"f_dc_{i}"].item() for i in range(3)] == pytest.approx([0, 1.7724539, -1.7724539])
    assert [first[f"rot_{i}"].item() for i in range(4)] == pytest.approx([1, 0, 0, 0])
    assert [second[f"rot_{i}"].item() for i in range(4)] == pytest.approx([0, 0, 0.6, 0.8])
    assert second["opacity"] == pytest.approx(math.log((1 - 1e-6) / 1e-6), rel=1e-5)
    assert not any(first[f"f_rest_{i}"] for i in range(45))
    assert lines[-2] == "comment by hand", "a comment before the properties stops the authors' viewer"
    assert lines[2] == "element vertex 2"


def test_what_is_read_back_draws_the_same_picture(tmp_path: Path) -> None:
    """A reader that undoes the format's own activations sees the scene that was written, to float32."""
    scene = _gaussians()
    write_gaussians_ply(tmp_path / "g.ply", scene, scene.features[0], sh_degree=0)
    rows = read_ply(tmp_path / "g.ply")[0]["vertex"]

    def columns(*names: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([rows[name] for name in names], -1))[None]

    again = Gaussians(
        means=columns("x", "y", "z"),
        quats=columns("rot_0", "rot_1", "rot_2", "rot_3"),
        scales=columns("scale_0", "scale_1", "scale_2").exp(),
        opacities=columns("opacity")[..., 0].sigmoid(),
        features=0.5 + 0.28209479177387814 * columns("f_dc_0", "f_dc_1", "f_dc_2"),
    )
    cam_to_ego = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    intrinsics = torch.tensor([[16.0, 0, 16], [0, 16, 12], [0, 0, 1]])
    rig = CameraRig(intrinsics[None, None], cam_to_ego[None, None], (24, 32))
    renderer = build_renderer("splat_torch")
    first, second = renderer.render(scene, rig), renderer.render(again, rig)
    assert first.opacity.max() > 0.3
    torch.testing.assert_close(second.features, first.features, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(second.opacity, first.opacity, atol=1e-5, rtol=1e-4)


def test_more_gaussians_than_are_written_at_once_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gsocc.interop.ply._ROWS_AT_ONCE", 3)
    scene = _gaussians(8)
    write_gaussians_ply(tmp_path / "g.ply", scene, scene.features[0])
    rows = read_ply(tmp_path / "g.ply")[0]["vertex"]
    np.testing.assert_array_equal(rows["x"], scene.means[0, :, 0])
    np.testing.assert_allclose(np.exp(rows["scale_2"]), scene.scales[0, :, 2], rtol=1e-6)


def test_shapes_that_depend_on_the_camera_are_refused(tmp_path: Path) -> None:
    scene = _gaussians(2)
    covariances = torch.eye(3).expand(1, 1, 2, 3, 3)
    flat = Gaussians(scene.means, scene.quats, scene.scales, scene.opacities, scene.features, covariances)
    with pytest.raises(ValueError, match="with covariances"):
        write_gaussians_ply(tmp_path / "g.ply", flat, scene.features[0])
    with pytest.raises(ValueError, match="sh_degree"):
        write_gaussians_ply(tmp_path / "g.ply", scene, scene.features[0], sh_degree=4)
    assert not (tmp_path / "g.ply").exists()


def test_points_and_meshes_are_read_back_as_they_were(tmp_path: Path) -> None:
    points = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [0.0, 0.0, 1.0]], np.float32)
    colors = np.array([[255, 0, 1], [2, 3, 4], [9, 9, 9]], np.uint8)
    write_points_ply(tmp_path / "p.ply", points, colors, np.array([4, 11, 0], np.uint8))
    rows = read_ply(tmp_path / "p.ply")[0]["vertex"]
    assert rows["label"].tolist() == [4, 11, 0]
    np.testing.assert_array_equal(np.stack([rows[c] for c in ("red", "green", "blue")], -1), colors)
    write_mesh_ply(tmp_path / "m.ply", points, np.array([[0, 2, 1]]), colors)
    arrays, _ = read_ply(tmp_path / "m.ply")
    np.testing.assert_array_equal(np.stack([arrays["vertex"][c] for c in "xyz"], -1), points)
    assert arrays["face"]["vertex_indices"].tolist() == [[0, 2, 1]]
    assert arrays["face"]["count"].tolist() == [3]


def test_open3d_reads_them(tmp_path: Path) -> None:
    """An independent reader (rply), as a stand-in for the programs that people open such files with."""
    o3d = pytest.importorskip("open3d", reason="needs Open3D", exc_type=ImportError)
    scene = _gaussians(5)
    write_gaussians_ply(tmp_path / "g.ply", scene, scene.features[0], comments=["scene", "axes"])
    cloud = o3d.t.io.read_point_cloud(str(tmp_path / "g.ply"))
    np.testing.assert_array_equal(cloud.point.positions.numpy(), scene.means[0].numpy())
    corners = np.eye(3, dtype=np.float32)
    write_mesh_ply(tmp_path / "m.ply", corners, np.array([[0, 1, 2]]), np.full((3, 3), 51, np.uint8))
    mesh = o3d.io.read_triangle_mesh(str(tmp_path / "m.ply"))
    assert np.asarray(mesh.triangles).tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(np.asarray(mesh.vertex_colors), 0.2, atol=1e-6)
