"""Where labels are written is where the reader of DDAD looks for them."""

from pathlib import Path

from dgp_files import SIZE, write_dgp_root

from gsocc.app.commands import index
from gsocc.datasets.ddad import DdadDataset
from gsocc.datasets.derived.label_targets import label_targets, labels_folder
from gsocc.datasets.derived.layout import open_derived_index


def test_ddad_labels_lie_where_its_reader_looks(tmp_path: Path) -> None:
    root = write_dgp_root(tmp_path / "ddad")
    index.ddad(root)
    targets = label_targets(open_derived_index("ddad", root), root)
    data = DdadDataset(root=root, split="all", image_size=SIZE, frame_ids=(0,), parts=("semantics",))
    looked_for = [path for row in data.rows.tolist() for path in data._semantic_files(row)]
    assert [target.labels for target in targets] == looked_for
    assert [target.image for target in targets] == [path for n in range(len(data)) for path in data.image_files(n)]
    assert targets[0].labels.is_relative_to(labels_folder("ddad", root))
    for target in targets:
        target.labels.parent.mkdir(parents=True, exist_ok=True)
        target.labels.write_bytes(bytes([16]) * (target.size[0] * target.size[1]))
    labels = data[0].semantic_labels
    assert labels is not None and (labels == 17).all()  # raw 16 is sky
