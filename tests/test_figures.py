"""The storage picture holds the cells that torch itself reads."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from featlab import figures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def words(figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def numbers(figure) -> list[int]:
    return [int(word) for word in words(figure) if word.isdigit()]


def framed(figure) -> int:
    return sum(patch.get_linewidth() > 2 for patch in figure.axes[0].patches)


def numbered(*shape) -> torch.Tensor:
    """A tensor in which each element holds the number of its own cell."""
    return torch.arange(np.prod(shape, dtype=int)).reshape(shape)


VIEWS = {
    "all": lambda t: t,
    "transpose": lambda t: t.T,
    "crop": lambda t: t[1::2, 2:5],
    "expand": lambda t: t[:1].expand(3, 6),
    "diagonal": lambda t: t.diagonal(),
    "one": lambda t: t[2, 3],
    "array": lambda t: t.numpy()[1:, ::2],
    "array, backwards": lambda t: t.numpy()[::-1, ::-1],
    "array from the middle and back": lambda t: torch.from_numpy(t.numpy()[1:]),
}


@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
def test_the_numbers_in_a_grid_are_the_cells_that_torch_reads(make):
    whole = numbered(4, 6)
    view = make(whole)
    read = np.array(view.tolist()).ravel().tolist()
    assert numbers(figures.storage_map({"v": view, "whole": whole})) == [*range(24), *read, *range(24)]


def test_a_copy_reads_its_own_cells_from_the_first_on():
    assert numbers(figures.storage_map({"copy": numbered(4, 6)[1:].to(torch.float32)})) == [*range(18), *range(18)]


def test_each_storage_is_drawn_once_with_its_tensors_below():
    x = numbered(3, 4)
    figure = figures.storage_map({"x": x, "x.T": x.T, "copy": x.T.reshape(2, 6)})
    titles = [word for word in words(figure) if not word.isdigit()]
    assert titles == [
        "storage A: 12 cells in one line of memory",
        "x",
        "x.T",
        "storage B: 12 cells in one line of memory",
        "copy",
    ]


def test_mark_frames_the_element_in_each_grid_and_its_cell_in_the_storage():
    t = numbered(4, 4)
    assert framed(figures.storage_map({"t": t})) == 0
    assert framed(figures.storage_map({"t": t}, mark=(1, 2))) == 2
    assert framed(figures.storage_map({"t": t, "t.T": t.T}, mark=(1, 2))) == 4
    assert framed(figures.storage_map({"t": t, "t.T": t.T}, mark=(1, 1))) == 3  # one cell for both
    assert framed(figures.storage_map({"t": t, "top": t[:1]}, mark=(1, 2))) == 2  # the second has no such element


def test_a_tensor_that_reads_some_cells_only_has_a_bar_of_them_with_its_name():
    t = numbered(4, 4)
    assert words(figures.storage_map({"t": t, "crop": t[:2, :2]})).count("crop") == 2  # title and bar
    assert words(figures.storage_map({"t": t})).count("t") == 1


def test_cells_that_nobody_reads_are_struck_out():
    t = numbered(4, 4)
    assert len(figures.storage_map({"crop": t[:2, :2]}).axes[0].lines) == 12
    assert len(figures.storage_map({"t": t}).axes[0].lines) == 0


def test_every_dtype_can_be_drawn_and_drawing_changes_nothing():
    for dtype in (torch.bool, torch.bfloat16, torch.complex64, torch.uint8, torch.float64):
        t = torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=dtype)
        before, version = t.clone(), t._version
        assert numbers(figures.storage_map({"t": t})) == [*range(6), *range(6)]
        assert t.equal(before)
        assert t._version == version
    figures.storage_map({"w": torch.full((2, 2), torch.nan, requires_grad=True)})


@pytest.mark.parametrize(
    ("views", "reason"),
    [
        ({"t": torch.zeros(2, 2, 2)}, "3 axes"),
        ({"t": torch.zeros(300)}, "300 cells"),
        ({"t": torch.zeros(300)[:4]}, "300 cells"),
        ({"t": torch.empty(0)}, "no memory"),
        ({"t": torch.empty(3, device="meta")}, "no memory"),
        ({"t": torch.eye(2).to_sparse()}, "no memory"),
        ({"field": np.zeros(3, "i4, f8")["f1"]}, "between two cells"),
        ({"t": (t := torch.zeros(4)), "bytes": t.view(torch.uint8)}, "different size"),
    ],
)
def test_what_cannot_be_drawn_says_why(views, reason):
    with pytest.raises(ValueError, match=reason):
        figures.storage_map(views)


def test_images_stand_side_by_side_under_their_names():
    figure = figures.images({str(i): torch.rand(4, 4) for i in range(7)}, columns=4)
    assert [ax.get_title() for ax in figure.axes] == [*"0123456", ""]
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert all(ax.images[0].get_array().shape == (4, 4) for ax in figure.axes[:7])


def test_images_show_arrays_tensors_and_weights_on_one_grey_scale():
    figure = figures.images({"a": np.zeros((2, 2)), "t": torch.ones(2, 2), "w": torch.ones(2, 2, requires_grad=True)})
    assert {ax.images[0].get_clim() for ax in figure.axes} == {(0, 1)}


def test_feature_maps_share_one_scale_and_count_every_value_of_all_channels():
    low, high = torch.tensor([[[0.0, 1.0]], [[2.0, 3.0]]]), torch.tensor([[[-6.0, 0.5]], [[0.5, 0.5]]])
    figure = figures.feature_maps({"low": low, "high": high}, channel=1)
    above, below = figure.axes[:2], figure.axes[2:]
    assert [ax.get_title() for ax in above] == ["low", "high"]
    assert above[0].images[0].get_array().tolist() == [[2.0, 3.0]]
    assert above[0].images[0].get_clim() == above[1].images[0].get_clim() == pytest.approx((-3.6, 3.6))
    assert [sum(bar.get_height() for bar in ax.patches) for ax in below] == [4, 4]
    assert [ax.get_xlabel() for ax in below] == ["smallest 0.00", "smallest -6.00"]
    plt.close(figure)


def test_neighbours_frames_and_signs_those_of_another_label():
    images = torch.rand(4, 1, 3, 3)
    rows = {"pixels": (images[:3], torch.tensor([8, 3, 8])), "late": (images[1:], torch.tensor([8, 8, 8]))}
    figure = figures.neighbours(images[0], 8, rows)
    under = [ax.get_xlabel() for ax in figure.axes]
    assert under == ["an 8", "8 ✓", "3 ✗", "8 ✓", "an 8", "8 ✓", "8 ✓", "8 ✓"]
    assert [ax.get_xlabel() for ax in figure.axes if ax.spines["left"].get_linewidth() > 2] == ["3 ✗"]
    assert words(figure) == ["pixels\n2 of 3", "late\n3 of 3"]
