"""Lesson 05's exercises: typical wrong answers are told apart, other right ones accepted."""

import copy
from contextlib import ExitStack, suppress
from functools import partial

import folded
import pytest
import torch
from torch import nn

import featlab as fl
from featlab import practice
from featlab.states import model_state, same

LESSON = "05_feature_extraction"
kernel = folded.kernel(LESSON)
NAMES = ["nearest", "shared_parameters", "identity_twin", "truncate", "features_of"]
GIVEN = {"torch": torch, "nn": nn, "fl": fl, "copy": copy, "partial": partial, "practice": practice}


# ---- typical wrong answers


def forgets(*args):
    args = args[0]  # some work, and no return


def cosines(features, query):
    rows = nn.functional.normalize(features.flatten(1), dim=1)
    return rows @ nn.functional.normalize(query.flatten(), dim=0)


def normalises_in_place(features, query, k):
    features /= features.flatten(1).norm(dim=1).view(-1, *[1] * (features.ndim - 1))
    return cosines(features, query).topk(k).indices


def addresses(model):
    return {p.untyped_storage().data_ptr() for p in model.parameters()}


def behead(model, name):
    setattr(model, name, nn.Identity())
    return model


def shallow(model, name):
    twin = copy.copy(model)
    setattr(twin, name, nn.Identity())
    return twin


def puts_back(model, name):
    old = getattr(model, name)
    setattr(model, name, nn.Identity())
    twin = model
    setattr(model, name, old)
    return twin


def mutates_then_copies(model, name):
    setattr(model, name, nn.Identity())
    return copy.deepcopy(model)


def deep(model, name):
    twin = copy.deepcopy(model)
    setattr(twin, name, nn.Identity())
    return twin


def chain_without(model, name):
    return nn.Sequential(*[nn.Identity() if key == name else child for key, child in model.named_children()])


def deletes(model, name):
    twin = copy.copy(model)
    twin._modules = {key: child for key, child in model._modules.items() if key != name}
    return twin


def silences(model, name):
    twin = copy.copy(model)
    twin._modules = dict(model._modules)
    model.get_submodule(name).register_forward_hook(lambda module, args, output: args[0])
    return twin


class Borrowing(nn.Module):
    """Behead the model itself, for the time of a call."""

    def __init__(self, model, name):
        super().__init__()
        self.model, self.name = model, name

    def forward(self, x):
        own = getattr(self.model, self.name)
        setattr(self.model, self.name, nn.Identity())
        try:
            return self.model(x)
        finally:
            setattr(self.model, self.name, own)


def steps(model, name, *, nested=True, last=True, before=True, compare=True, leave_hook=False, x=None):
    """The reference, with parts of it left out."""
    chain, module = [], model
    for part in name.split(".") if nested else [name.split(".")[0]]:
        children = dict(module.named_children())
        chain += list(children.values())[: list(children).index(part)] if before else []
        module = children[part]
    chain = nn.Sequential(*chain, *[module] * last)
    if leave_hook:
        module.register_forward_hook(lambda *args: None)
    if compare:
        true = fl.features(model, x, name)[name]
        if chain(x).shape != true.shape or not torch.allclose(chain(x), true, atol=1e-6):
            raise ValueError("a lie")
    return chain


def compares_with_the_answer(model, name, x):
    chain = steps(model, name, compare=False)
    if chain(x).shape != model(x).shape:
        raise ValueError("other shapes")
    return chain


def hooking(
    model, x, names, *, stop="full", clone=True, keep_first=True, remove="always", catch=True, late=False, own=True
):
    """The reference, with parts of it done wrong."""

    class Enough(Exception):
        pass

    found, caught = {}, Enough if own else Exception

    def keep(name, module, args, output):
        if not (keep_first and name in found):
            found[name] = output.clone() if clone else output.detach()
        if (stop == "full" and len(found) == len(names)) or (stop == "last asked" and name == names[-1]):
            raise Enough

    handles = []
    for name in names:
        hook = (lambda *args: keep(name, *args)) if late else partial(keep, name)  # noqa: B023 - the mistake itself
        handles.append(model.get_submodule(name).register_forward_hook(hook))
    try:
        model(x)
    except caught:
        done = True
    except Exception as error:
        done = remove == "always"
        if not catch:
            raise RuntimeError("the forward failed") from error
        raise
    else:
        done = True
    finally:
        if remove == "always" or (remove == "when done" and done):
            for handle in handles:
                handle.remove()
        if remove == "all":
            for module in model.modules():
                module._forward_hooks.clear()
    return found


def stops_late(model, x, names):
    """Notice that all is there when the next layer has run."""
    found = {}

    def keep(name, module, args, output):
        if len(found) == len(names):
            raise StopIteration
        if name in names:
            found.setdefault(name, output.clone())

    with ExitStack() as hooks, suppress(StopIteration):
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_hook(partial(keep, name)))
        model(x)
    return found


WRONG = {
    "nearest": {
        "by distance": (
            lambda f, q, k: (f - q).flatten(1).norm(dim=1).topk(k, largest=False).indices,
            "nearest by distance",
        ),
        "not normalised": (lambda f, q, k: (f.flatten(1) @ q.flatten()).topk(k).indices, "divide by the lengths"),
        "smallest cosine": (lambda f, q, k: cosines(f, q).topk(k, largest=False).indices, "farthest"),
        "values": (lambda f, q, k: cosines(f, q).topk(k).values, "`.indices`"),
        "reversed": (lambda f, q, k: cosines(f, q).topk(k).indices.flip(0), "another order"),
        "all of them": (lambda f, q, k: cosines(f, q).argsort(descending=True), "indices are asked"),
        "a matrix product": (lambda f, q, k: (nn.functional.normalize(f, dim=-1) @ q).topk(k).indices, "flatten it"),
        "keeps a row": (lambda f, q, k: nn.functional.normalize(f) @ q / q.norm(), "how alike"),
        "last axis only": (
            lambda f, q, k: nn.functional.cosine_similarity(f, q[None], dim=-1).topk(k, dim=0).indices,
            "indices are asked",
        ),
        "rows as they stand": (lambda f, q, k: torch.arange(k), "cosine"),
        "writes": (normalises_in_place, "wrote into"),
        "forgets return": (forgets, "`return` missing"),
    },
    "shared_parameters": {
        "names": (
            lambda a, b: [n for n, _ in a.named_parameters() if n in dict(b.named_parameters())],
            "same memory",
        ),
        "objects": (
            lambda a, b: [n for n, p in a.named_parameters() if any(p is q for q in b.parameters())],
            "compare addresses",
        ),
        "where they begin": (
            lambda a, b: [n for n, p in a.named_parameters() if p.data_ptr() in {q.data_ptr() for q in b.parameters()}],
            "ask for its storage",
        ),
        "values": (
            lambda a, b: [n for n, p in a.named_parameters() if any(torch.equal(p, q) for q in b.parameters())],
            "Equal values",
        ),
        "in": (lambda a, b: [n for n, p in a.named_parameters() if p in list(b.parameters())], "by their values"),
        "b's names": (
            lambda a, b: [n for n, p in b.named_parameters() if p.untyped_storage().data_ptr() in addresses(a)],
            "names in `b`",
        ),
        "parameters": (lambda a, b: [p for p in a.parameters()], "a list of names"),
        "a number": (lambda a, b: len(addresses(a) & addresses(b)), "a list of names"),
        "freezes": (lambda a, b: a.requires_grad_(False) and [n for n, _ in a.named_parameters()], "Leave it"),
        "forgets return": (forgets, "`return` missing"),
    },
    "identity_twin": {
        "beheads the model": (behead, "the model itself, and it has changed"),
        "copy.copy alone": (shallow, "one dict of children"),
        "puts back": (puts_back, "without a change"),
        "mutates first": (mutates_then_copies, "lost its own"),
        "deepcopy": (deep, "are copies"),
        "a chain": (chain_without, "must still run|the twin raised"),
        "deletes": (deletes, "the twin raised AttributeError"),
        "hooks the model": (silences, "Change the twin only"),
        "replaces it for each call": (Borrowing, "when you build it"),
        "nothing replaced": (lambda model, name: copy.copy(model), "not what its forward gives"),
        "forgets return": (forgets, "`return` missing"),
    },
    "truncate": {
        "top level only": (lambda m, n, x: steps(m, n, nested=False, compare=False), "is inside it"),
        "one short": (lambda m, n, x: steps(m, n, last=False, compare=False), "It is empty|It ends after"),
        "the path alone": (lambda m, n, x: nn.Sequential(m.get_submodule(n)), "Is all that runs before"),
        "no comparison": (lambda m, n, x: steps(m, n, compare=False), "without a word"),
        "compares the end": (compares_with_the_answer, "tells the truth"),
        "copies": (lambda m, n, x: copy.deepcopy(steps(m, n, x=x)), "chain of copies"),
        "hook left": (lambda m, n, x: steps(m, n, x=x, leave_hook=True), "hooks have changed"),
        "a list": (lambda m, n, x: list(steps(m, n, x=x)), "an nn.Sequential is asked"),
        "the feature": (lambda m, n, x: fl.features(m, x, n)[n], "an nn.Sequential is asked"),
        "forgets return": (forgets, "`return` missing"),
    },
    "features_of": {
        "runs all": (partial(hooking, stop="never"), "to its end"),
        "stops in the next layer": (stops_late, "ran on when it had all"),
        "stops at the last asked": (partial(hooking, stop="last asked"), "in whatever order"),
        "no clone": (partial(hooking, clone=False), "output.clone()"),
        "second call": (partial(hooking, stop="full", keep_first=False), "the first call is asked"),
        "hooks left": (partial(hooking, remove="never"), "remove each of them"),
        "hooks left when it raises": (partial(hooking, remove="when done"), "in a `finally`"),
        "all hooks removed": (partial(hooking, remove="all"), "no others"),
        "hides errors": (partial(hooking, own=False), "you hid it"),
        "another error": (partial(hooking, catch=False), "you made RuntimeError"),
        "late name": (partial(hooking, late=True), "all kept under one name"),
        "a list": (lambda m, x, names: list(hooking(m, x, names).values()), "a dict with"),
        "tuples": (lambda m, x, names: {n: (v,) for n, v in hooking(m, x, names).items()}, "returned is asked"),
        "forgets return": (forgets, "`return` missing"),
    },
}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in WRONG for kind in WRONG[name]])
def test_a_typical_wrong_answer_is_not_accepted_and_told_why(name, kind):
    answer, word = WRONG[name][kind]
    verdict = practice.check(name, answer)
    assert verdict.status == "not yet", verdict
    assert any(part in verdict.message for part in word.split("|")), verdict.message


@pytest.mark.parametrize("name", NAMES)
def test_wrong_answers_get_messages_of_their_own(name):
    messages = {kind: practice.check(name, answer).message for kind, (answer, _) in WRONG[name].items()}
    assert len(set(messages.values())) == len(messages), messages


def memo_twin(model, name):
    """A deep copy that is told to take the parameters as they are."""
    twin = copy.deepcopy(model, {id(p): p for p in model.parameters()})
    setattr(twin, name, nn.Identity())
    return twin


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("nearest", lambda f, q, k: cosines(f, q).argsort(descending=True)[:k].tolist()),
        (
            "nearest",
            lambda f, q, k: torch.cosine_similarity(f.flatten(1), q.flatten()[None]).topk(k).indices,
        ),
        ("shared_parameters", lambda a, b: set(folded.solved(LESSON, "shared_parameters")(a, b))),
        ("identity_twin", memo_twin),
        ("identity_twin", lambda model, name: fl.extractor(model, name, way="identity") and memo_twin(model, name)),
        ("truncate", lambda model, name, x: steps(model, name, x=x)),
        ("features_of", lambda model, x, names: fl.features(model, x, names)),
    ],
)
def test_other_right_ways_are_accepted(name, answer):
    verdict = practice.check(name, answer)
    assert verdict, verdict.message


def test_checks_leave_the_learner_s_model_and_the_random_numbers_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    before, state = model_state(model), torch.get_rng_state()
    for name in NAMES:
        practice.check(name, lambda *args: model)
    assert same(list(before["parameters"].values()), list(model_state(model)["parameters"].values()))
    assert torch.equal(torch.get_rng_state(), state)


def test_directions_find_more_neighbours_than_distances_in_features_and_fewer_in_pixels():
    """The words under the solution of `nearest`."""
    train, test = fl.samples.digits()
    model, moved, k = fl.samples.digits_net().requires_grad_(False), test.images.roll(1, dims=3), 10
    gain = {}
    for layer in ("pixels", "block1", "block2"):
        known, asked = (
            (x if layer == "pixels" else fl.features(model, x, layer)[layer]).flatten(1) for x in (train.images, moved)
        )
        by_direction = (nn.functional.normalize(asked) @ nn.functional.normalize(known).T).topk(k).indices
        by_distance = torch.cdist(asked, known).topk(k, largest=False).indices
        right = [(train.labels[i] == test.labels[:, None]).float().mean() for i in (by_direction, by_distance)]
        gain[layer] = right[0] - right[1]
    assert gain["pixels"] < 0 < min(gain["block1"], gain["block2"])
