"""The mode inspector's Python side: what it shows, what it switches, and how it follows the model."""

import gc
import weakref

import pytest
import torch
import torchvision
from IPython.core.interactiveshell import InteractiveShell
from torch import nn

import featlab as fl
from featlab.inspections import CHANGED, DISAGREES, READS
from featlab.states import model_state, process_state, same
from featlab.switches import is_frozen


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x))


def inspect(model, **given) -> fl.ModeInspector:
    return fl.ModeInspector(model, **given)


def column(inspector, key) -> dict[str, str]:
    """Return name -> what stands in one column of the tree."""
    tree = inspector.tree
    return dict(zip(inspector._inspection.names, (tree["words"][word] for word in tree[key]), strict=True))


def act(inspector, **content) -> None:
    inspector._act(None, content, [])


# ---- what it shows


def test_each_row_tells_mode_what_learns_and_what_is_wrong():
    model = Small().train()
    model.body.requires_grad_(False)
    inspector = inspect(model, optimizer=torch.optim.SGD(model.head.parameters(), lr=0.1))
    assert column(inspector, "modes") == dict.fromkeys(["", "body", "body.0", "body.1", "body.2", "head"], "● train")
    learns = {
        "": "◧ partly learns",
        "body": "■ frozen",
        "body.0": "■ frozen",
        "body.1": "■ frozen",
        "body.2": "",
        "head": "learns",
    }
    assert column(inspector, "learns") == learns
    found = {name: text for name, text in column(inspector, "findings").items() if text}
    own = {"body.1": "▲ frozen-statistics-move", "body.2": "▲ frozen-dropout-active"}
    assert found == {"": "▾ 2 below", "body": "▾ 2 below", **own}
    assert "frozen-statistics-move" in inspector.tree["title"] and inspector.findings.codes == list(
        dict.fromkeys(inspector.findings.codes)
    )


def test_a_mixed_subtree_says_so_and_the_flags_tell_the_filters():
    model = Small().train()
    model.body[1].eval()
    inspector = inspect(model)
    modes = column(inspector, "modes")
    assert (
        modes[""] == modes["body"] == "● train, mixed below"
        and modes["body.1"] == "○ eval"
        and modes["head"] == "● train"
    )
    flags = dict(zip(inspector._inspection.names, inspector.tree["flags"], strict=True))
    assert [name for name, flag in flags.items() if flag & READS] == ["body.1", "body.2"]
    assert [name for name, flag in flags.items() if flag & DISAGREES] == ["body.1"]
    assert not any(flag & CHANGED for flag in flags.values())


def test_a_picked_row_tells_statistics_optimizer_findings_and_the_line_that_mends():
    model = Small().train()
    model.body.requires_grad_(False)
    inspector = inspect(model, optimizer=torch.optim.SGD(model.head.parameters(), lr=0.1))
    inspector.value = "body.1"
    facts = dict(inspector.panel["facts"])
    assert (
        facts["mode"] == "train"
        and facts["statistics"] == "move with every forward"
        and facts["optimizer"] == "■ not in it"
    )
    (finding,) = inspector.panel["findings"]
    assert finding["code"] == "frozen-statistics-move" and finding["remedy"].startswith("fl.freeze(")
    inspector.value = "head"
    assert dict(inspector.panel["facts"])["optimizer"] == "in it" and not inspector.panel["findings"]
    inspector.value = ""
    assert dict(inspector.panel["facts"])["statistics"] == "1 of 1 norms below move"


def test_an_extractor_s_eval_is_told_before_it_is_called():
    model = torchvision.models.resnet18().train()
    extractor = fl.extractor(model, "layer2", way="fx")
    before = model_state(model)
    inspector = inspect(extractor, original=model)
    assert "eval() of the extractor would switch 26 of 68 modules and 10 of 20 norms" in inspector.tree["warning"]
    assert sum("⇄" in mode for mode in column(inspector, "modes").values()) == 26
    after = model_state(model)
    assert all(same(value, after[kind][name]) for kind in before for name, value in before[kind].items())
    marked = {name for name, mode in column(inspector, "modes").items() if "⇄" in mode}
    extractor.eval()
    assert {name for name, part in model.named_modules() if not part.training} == marked
    inspector.refresh()
    assert "eval() of the extractor would switch 0 of 68" in inspector.tree["warning"]


def test_looking_changes_nothing():
    model, x = Small().train(), torch.randn(4, 4)
    before, process = model_state(model), process_state()
    inspector = inspect(model, x=x)
    inspector.value = "body"
    inspector.refresh(run=True)
    repr(inspector), inspector._repr_html_()
    after = model_state(model)
    assert all(same(value, after[kind][name]) for kind in before for name, value in before[kind].items())
    assert all(same(value, process_state()[name]) for name, value in process.items())


def test_what_running_shows_is_found_with_an_input_and_kept():
    class Drops(nn.Module):
        def forward(self, x):
            return torch.nn.functional.dropout(x)

    inspector = inspect(Drops(), x=torch.randn(2, 3))
    assert inspector.findings.codes == ["functional-dropout"]
    inspector.refresh()
    assert inspector.findings.codes == ["functional-dropout"]
    with pytest.raises(ValueError, match="no input"):
        inspect(Small()).refresh(run=True)


# ---- what it switches


@pytest.mark.parametrize(
    ("what", "training", "learns"), [("eval", False, True), ("train", True, True), ("freeze", False, False)]
)
def test_a_switch_changes_its_subtree_and_nothing_else(what, training, learns):
    model = Small().train(not training)
    inspector = inspect(model)
    act(inspector, act=what, name="body")
    assert {part.training for part in model.body.modules()} == {training}
    assert {p.requires_grad for p in model.body.parameters()} == {learns}
    assert model.head.training is (not training) and model.training is (not training)
    assert all(p.requires_grad for p in model.head.parameters())
    assert inspector.heard == 1 and "body" in inspector._inspection.before


def test_unfreeze_gives_back_what_freeze_took():
    model = Small().train()
    inspector = inspect(model)
    act(inspector, act="freeze", name="body")
    assert is_frozen(model.body)
    act(inspector, act="unfreeze", name="body")
    assert model.body[1].training and all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "content", [3, {}, {"act": "delete", "name": "body"}, {"pick": "nowhere"}, {"act": "eval", "name": "gone"}]
)
def test_what_the_browser_should_not_ask_harms_nothing(content):
    model = Small()
    inspector = inspect(model)
    inspector._act(None, content, [])
    assert model.training


def test_a_model_that_refuses_is_told_in_the_widget():
    class Refuses(nn.Module):
        def train(self, mode=True):
            raise RuntimeError("not today")

    model = nn.Sequential(Refuses())
    inspector = inspect(model)
    act(inspector, act="eval", name="0")
    assert inspector.panel["trouble"] == "RuntimeError: not today"
    act(inspector, pick="0")
    assert inspector.panel["trouble"] == "" and inspector.value == "0"


# ---- how it follows


def test_what_changed_since_the_last_look_is_marked_with_what_it_was():
    model = Small().train()
    inspector = inspect(model)
    model.body.eval()
    inspector.refresh()
    modes = column(inspector, "modes")
    assert modes["body.1"] == "○ eval  was train" and modes["head"] == "● train"
    assert modes[""] == "● train, mixed below"  # its own flag is what it was
    assert inspector.panel["changed"] == 5  # the model itself is mixed now
    inspector.refresh()  # a look that finds nothing new leaves the marks
    assert column(inspector, "modes")["body.1"] == "○ eval  was train"
    model.head.requires_grad_(False)
    inspector.refresh()
    assert set(inspector._inspection.before) == {"", "head"}


def test_a_replaced_submodule_is_shown_and_a_picked_one_that_is_gone_let_go():
    model = Small()
    inspector = inspect(model)
    inspector.value = "body.2"
    model.body = nn.Sequential(nn.Linear(4, 4))
    inspector.refresh()
    assert inspector.value is None and "body.2" not in inspector._inspection.names


@pytest.fixture
def shell():
    shell = InteractiveShell.instance()
    yield shell
    InteractiveShell.clear_instance()


def callbacks(shell) -> int:
    return len(shell.events.callbacks["post_run_cell"])


def test_it_looks_again_after_a_cell_and_stops_when_closed(shell):
    model, before = Small().train(), callbacks(shell)
    inspector = inspect(model)
    assert callbacks(shell) == before + 1
    shell.user_ns["model"] = model
    shell.run_cell("_ = model.body.eval()")
    assert column(inspector, "modes")["body"].startswith("○ eval")
    inspector.close()
    inspector.close()
    assert callbacks(shell) == before


def test_an_inspector_that_nobody_holds_is_not_kept_alive(shell):
    before = callbacks(shell)
    inspector = inspect(Small())
    inspection = weakref.ref(inspector._inspection)
    inspector.close()
    del inspector
    gc.collect()
    assert inspection() is None and callbacks(shell) == before


# ---- faces and refusals


def test_text_and_html_faces_show_the_same_and_nothing_of_this_machine():
    model = Small().eval()
    model.body[1].train()
    inspector = inspect(model)
    text, html = repr(inspector), inspector._repr_html_()
    assert text.splitlines()[0] == "Small: mixed: 1 train, 5 eval · 1 finding: train-inside-eval"
    for words in ("train-inside-eval", "● train", "○ eval, mixed below", "BatchNorm1d", "model.eval()"):
        assert words in text and words in html
    assert "0x" not in text and repr(inspect(model)) == text
    assert "widget-view" in str(inspector._repr_mimebundle_()[0])


@pytest.mark.parametrize(("model", "given"), [(3, {}), (nn.Linear(1, 1), {"optimizer": 3})])
def test_what_is_no_model_or_optimizer_is_refused(model, given):
    with pytest.raises(TypeError):
        inspect(model, **given)
    with pytest.raises(LookupError, match="no submodule 'nowhere'"):
        inspect(nn.Linear(1, 1)).value = "nowhere"
