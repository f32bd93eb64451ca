"""The picture of one feature: it fits the shape, says what it shows, and never costs more than a picture."""

import io
import math

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from featlab import panels
from featlab.panels import panel

BATCH = ("image", 4)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def has(png: bytes, colour: tuple[int, int, int]) -> bool:
    return bool((pixels(png) == colour).all(-1).any())


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((4, 6, 5, 5), "Channels 0 to 5 of 6, image 0 of 4. Each tile is 5 by 5."),
        ((4, 1, 5, 5), "The only channel, image 0 of 4. Each tile is 5 by 5."),
        ((4, 100, 2, 3), "Channels 0 to 63 of 100, image 0 of 4. Each tile is 2 by 3."),
        ((4, 7), "Image 0 of 4. 7 values as bars;"),
        ((4, 7, 1, 1), "Image 0 of 4. 7 values as bars;"),
        ((4, 5000), "One in 5 is drawn."),
        ((4, 9, 7), "Image 0 of 4. Rows are axis 1, columns axis 2; 9 by 7."),
        ((4,), "4 values as bars, one for each image;"),
        ((9,), "9 values as bars;"),
        ((9, 7), "Rows are axis 0, columns axis 1; 9 by 7."),
        ((3, 8, 8), "Channels 0 to 2 of 3. Each tile is 8 by 8."),
        ((12, 3, 8, 8), "Channels 0 to 2 of 3, index 0 of 12 on axis 0."),
        ((4, 6, 9, 5, 5), "Channels 0 to 5 of 6, image 0 of 4, the middle of axis 2 (index 4 of 9)."),
        ((4, 2, 3, 5, 4, 4), "the middle of axis 2 (index 1 of 3), the middle of axis 3 (index 2 of 5)."),
        ((4, 2, 900, 1200), "Each tile is 900 by 1200, one row and column in 5 drawn."),
        ((4, 3, 4000), "3 by 4000, one column in 9 drawn."),
    ],
)
def test_the_picture_fits_the_shape(shape, says):
    shown = panel(torch.randn(shape, generator=torch.Generator().manual_seed(0)), batch=BATCH)
    assert says in shown.caption
    height, width, _ = pixels(shown.png).shape
    assert 60 <= height <= 900
    assert 200 <= width <= 900


def test_a_number_is_said_and_not_drawn():
    assert panel(torch.tensor(2.5)).caption == "One number: 2.5."
    assert panel(torch.tensor(2.5)).png == b""


def test_attention_is_known_by_its_rows():
    weights = torch.randn(4, 3, 6, 6).softmax(-1)
    assert "Attention heads 0 to 2 of 3" in panel(weights, batch=BATCH).caption
    assert "Attention: each row sums to 1" in panel(weights[:, 0], batch=BATCH).caption
    assert "ttention" not in panel(weights - 0.1, batch=BATCH).caption


def test_colours_say_the_sign_and_light_is_zero():
    tile = torch.tensor([[-2.0, 0.0], [0.0, 2.0]]).expand(1, 1, 2, 2)
    shown = panel(tile)
    assert "Light is 0, red is above, blue is below; full colour at ±2." in shown.caption
    assert all(has(shown.png, colour) for colour in [(0x21, 0x66, 0xAC), (0xF2, 0xF2, 0xF2), (0xB2, 0x18, 0x2B)])
    assert "full colour at 2." in panel(tile.relu()).caption
    assert "full colour at -2." in panel(-tile.relu()).caption
    assert "All values shown are 0." in panel(tile * 0).caption


def test_an_outlier_does_not_take_the_colour_from_all_others():
    values = torch.linspace(-1, 1, 1600).view(1, 1, 40, 40).clone()
    values[..., 0, 0] = 1e6
    assert "full colour at ±0.99" in panel(values).caption
    assert "and beyond" in panel(values).caption


def test_nan_and_infinity_are_black_and_counted():
    values = torch.randn(1, 2, 3, 3)
    assert not has(panel(values).png, (0, 0, 0))
    values[0, 0, 0] = torch.tensor([math.nan, math.inf, -math.inf])
    shown = panel(values)
    assert "Black marks NaN or infinite: 3 of the values drawn." in shown.caption
    assert has(shown.png, (0, 0, 0))
    assert "Black marks" in panel(torch.full((1, 1, 3, 3), math.nan)).caption
    assert "× marks NaN or infinite: 1" in panel(torch.tensor([1.0, math.nan])).caption


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_every_dtype_is_drawn(dtype):
    assert panel(torch.arange(48).view(1, 3, 4, 4).to(dtype)).png


def test_complex_numbers_are_drawn_by_magnitude_and_say_so():
    shown = panel(torch.full((1, 2, 3, 3), 3 + 4j).conj())
    assert "full colour at 5." in shown.caption
    assert "magnitudes" in shown.line


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.zeros(0, 4), "It is empty: shape (0, 4)."),
        (torch.zeros(4, 0, 3, 3), "It is empty"),
        (torch.zeros(3, device="meta"), "Without values there is no picture."),
        (torch.eye(3).to_sparse(), "Without values there is no picture."),
        (None, "There is no tensor in it to draw."),
        ((), "There is no tensor in it to draw."),
        ("words", "There is no tensor in it to draw."),
    ],
)
def test_what_cannot_be_drawn_says_why(value, says):
    shown = panel(value, batch=BATCH)
    assert says in shown.caption
    assert shown.png == b""


def test_images_channels_and_parts_are_stepped_through():
    value = {"maps": torch.arange(4.0).view(4, 1, 1, 1).expand(4, 70, 2, 2), "rest": [torch.ones(4, 3)]}
    shown = panel(value, batch=BATCH, image=5, page=1)
    assert [(step["key"], step["at"], step["of"]) for step in shown.steps] == [
        ("part", 0, 2),
        ("image", 1, 4),
        ("page", 1, 2),
    ]
    assert shown.steps[2]["text"] == "channels 64 to 69 of 70"
    assert "image 1 of 4" in shown.caption
    other = panel(value, batch=BATCH, part=-1)
    assert "Part ['rest'][0] of dict of 2" in other.caption
    assert other.line.startswith("(4, 3) float32")
    assert panel(value, batch=BATCH, image=3).png != panel(value, batch=BATCH, image=0).png


def test_tiles_lie_in_reading_order():
    maps = torch.zeros(1, 4, 1, 2)
    maps[0, 2] = 1
    drawn = pixels(panel(maps).png)
    red = np.argwhere((drawn == (0xB2, 0x18, 0x2B)).all(-1))
    light = np.argwhere((drawn == (0xF2, 0xF2, 0xF2)).all(-1))
    in_tiles = light[light[:, 0] <= red[:, 0].max()]  # not those of the scale below
    assert red[:, 0].min() > in_tiles[:, 0].mean()  # two rows of two: the third begins the second row
    assert red[:, 1].max() < in_tiles[:, 1].mean()


def test_the_alt_text_has_the_numbers():
    shown = panel(torch.tensor([[0.0, 2.0]]), batch=("image", 1))
    assert shown.alt.startswith(shown.caption)
    assert shown.line in shown.alt
    assert "from 0 to 2" in shown.line


def test_an_enormous_tensor_costs_no_more_than_a_picture(monkeypatch):
    moved = []
    monkeypatch.setattr(panels, "plain", lambda tensor: moved.append(tensor.numel()) or (tensor, ""))
    enormous = torch.zeros(1).expand(2, 4096, 2048, 2048)  # one number under many addresses
    panels._draw(enormous, ("image", 2), 0, 0, [])
    panels._draw(torch.zeros(1).expand(10**6, 10**6), None, 0, 0, [])
    panels._draw(torch.zeros(1).expand(10**9), None, 0, 0, [])
    assert max(moved) <= 700 * 700


def test_the_picture_is_the_same_each_time_and_pyplot_knows_nothing_of_it():
    values = torch.randn(4, 8, 5, 5)
    with matplotlib.rc_context({"axes.facecolor": "black", "savefig.facecolor": "red"}):
        styled = panel(values, batch=BATCH).png
    assert panel(values, batch=BATCH).png == panel(values, batch=BATCH).png == styled
    pyplot = pytest.importorskip("matplotlib.pyplot")
    assert pyplot.get_fignums() == []


def test_the_tensor_is_only_read():
    values = torch.randn(4, 3, requires_grad=True)
    before = values.detach().clone()
    panel(values * 1, batch=BATCH)
    panel(values, batch=BATCH)
    assert torch.equal(values, before)
    assert values.grad is None
