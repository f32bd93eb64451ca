"""A few models of `make sweep`, one of each kind: all of them take a quarter of an hour."""

import pytest
from sweep import build, compare

MODELS = {
    "alexnet": "classification",
    "densenet121": "classification",
    "efficientnet_b0": "classification",
    "googlenet": "classification",
    "regnet_y_400mf": "classification",
    "shufflenet_v2_x0_5": "classification",
    "lraspp_mobilenet_v3_large": "segmentation",
}


@pytest.mark.parametrize("name", MODELS)
def test_features_agrees_with_torch_fx(name):
    assert compare(*build(MODELS[name], name)) == ""


def test_the_sweep_notices_a_wrong_value(monkeypatch):
    import sweep

    features = sweep.fl.features
    monkeypatch.setattr(
        sweep.fl, "features", lambda *given: {key: value + 1 for key, value in features(*given).items()}, raising=False
    )
    assert compare(*build("classification", "alexnet")).startswith("differs at")
