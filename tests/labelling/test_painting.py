import pytest
import torch

from gsocc.labelling.painting import Boxes, Canvas, box_iou, drop_duplicates

CPU = torch.device("cpu")


def columns(*ranges: tuple[int, int]) -> torch.Tensor:
    """Return masks of one row of six pixels that cover the given columns."""
    masks = torch.zeros(len(ranges), 1, 6, dtype=torch.bool)
    for mask, (first, end) in zip(masks, ranges, strict=True):
        mask[0, first:end] = True
    return masks


def test_a_pixel_takes_the_class_of_the_highest_score_among_the_masks_that_cover_it() -> None:
    """The published rule; where nothing covers a pixel it keeps -1."""
    canvas = Canvas((1, 6), CPU)
    canvas.paint(columns((0, 3), (2, 5)), torch.tensor([6, 1]), torch.tensor([0.3, 0.6]))
    assert canvas.labels.tolist() == [[6, 6, 1, 1, 1, -1]]
    assert canvas.labels.dtype == torch.int8


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 0, 2]])
def test_the_order_of_masks_and_how_they_are_split_into_passes_do_not_matter(order: list[int]) -> None:
    masks, ids, scores = columns((0, 4), (1, 6), (3, 5)), torch.tensor([4, 5, 6]), torch.tensor([0.5, 0.2, 0.9])
    whole, parts = Canvas((1, 6), CPU), Canvas((1, 6), CPU)
    whole.paint(masks, ids, scores)
    for i in order:
        parts.paint(masks[i : i + 1], ids[i : i + 1], scores[i : i + 1])
    assert torch.equal(whole.labels, parts.labels)


def test_of_equal_scores_the_first_mask_stays() -> None:
    canvas = Canvas((1, 6), CPU)
    canvas.paint(columns((0, 4), (2, 6)), torch.tensor([3, 4]), torch.tensor([0.5, 0.5]))
    assert canvas.labels.tolist() == [[3, 3, 3, 3, 4, 4]]


def test_overlap_of_boxes_is_shared_over_joint_area() -> None:
    """Two 2x2 squares shifted by one pixel share 2 of 6; an empty box overlaps nothing, not even itself."""
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0]])
    expected = torch.tensor([[1.0, 1 / 3, 0.0], [1 / 3, 1.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(box_iou(boxes, boxes), expected)


def test_a_box_that_repeats_a_better_one_of_its_class_is_dropped() -> None:
    """The third box overlaps the first by 1/3 only; the fourth repeats the first, but is of another class."""
    corners = torch.tensor([[0, 0, 2, 2], [0, 0, 2, 2], [1, 0, 3, 2], [0, 0, 2, 2]], dtype=torch.float32)
    boxes = Boxes(corners, torch.tensor([0.4, 0.8, 0.6, 0.5]), torch.tensor([1, 1, 1, 2]))
    kept = drop_duplicates(boxes, 0.5)
    assert kept.scores.tolist() == pytest.approx([0.8, 0.6, 0.5])
    assert kept.class_ids.tolist() == [1, 1, 2]


def test_no_boxes_stay_no_boxes() -> None:
    none = Boxes(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    assert len(drop_duplicates(none, 0.5)) == 0
