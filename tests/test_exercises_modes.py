"""Lesson 06's exercises: typical wrong answers are told apart, other right ones accepted."""

from contextlib import contextmanager

import folded
import pytest
from torch import nn

import featlab as fl
from featlab import practice

LESSON = "06_modes"
kernel = folded.kernel(LESSON)
NAMES = ["only_dropout", "batch_norm", "kept_reader", "switched_by_eval", "keeping_modes"]


def forgets(*args):
    args = args[0]  # some work, and no return


# ---- only_dropout


def dropout_with(kinds, *, back=False, returns=True, rest=nn.Module.eval):
    def only_dropout(model):
        rest(model)
        for module in model.modules():
            if isinstance(module, kinds):
                module.train()
        if back:
            model.eval()
        return model if returns else None

    return only_dropout


ALL = nn.modules.dropout._DropoutNd


def weights_too(model):
    model.requires_grad_(False)
    return dropout_with(ALL)(model)


WRONG_DROPOUTS = {
    "nothing else to eval": (dropout_with(ALL, rest=lambda model: model), "Begin with model.eval()"),
    "nn.Dropout only": (dropout_with(nn.Dropout), "Every kind"),
    "eval afterwards": (dropout_with(ALL, back=True), "is to be in train"),
    "whole containers": (dropout_with((ALL, nn.Sequential)), "container"),
    "RReLU as well": (dropout_with((ALL, nn.RReLU)), "It is no Dropout"),
    "BatchNorm as well": (dropout_with((ALL, nn.BatchNorm2d)), "It is no Dropout"),
    "no return": (dropout_with(ALL, returns=False), "return"),
    "another model": (lambda model: nn.Sequential(dropout_with(ALL)(model)), "return the model"),
    "parameters frozen": (weights_too, "requires_grad"),
}


# ---- batch_norm


def norm(*, mode=None, correction=0, collected=1, eps=None, affine=True, weight_of_new=None, root=True, **other):
    """Return a BatchNorm by hand with one thing done in another way."""

    def batch_norm(x, layer):
        axes, shape = other.get("axes") or [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)
        momentum = layer.momentum if weight_of_new is None else weight_of_new(layer.momentum)
        mean, var = layer.running_mean.clone(), layer.running_var.clone()
        training = layer.training if mode is None else mode
        batch = x.mean(axes), x.var(axes, correction=correction)
        if (layer.training or other.get("always")) and momentum is not None:
            new_mean = layer.running_mean + momentum * (batch[0] - layer.running_mean)
            new_var = layer.running_var + momentum * (x.var(axes, correction=collected) - layer.running_var)
            if other.get("replaces"):
                layer.running_mean, layer.running_var = new_mean, new_var
            else:
                layer.running_mean.copy_(new_mean)
                layer.running_var.copy_(new_var)
            if other.get("moved_first"):
                batch = layer.running_mean, layer.running_var
        mean, var = batch if training else (mean, var)
        var = var.view(shape) + (layer.eps if eps is None else eps)
        z = (x - mean.view(shape)) / (var.sqrt() if root else var)
        return z * layer.weight.view(shape) + layer.bias.view(shape) if affine else z

    return batch_norm


def in_place(x, layer):
    out = norm()(x, layer)
    x.copy_(out)
    return out


WRONG_NORMS = {
    "always the batch": (norm(mode=True), "in eval mode the running ones"),
    "always the running ones": (norm(mode=False), "in train mode the batch's"),
    "divided by n - 1": (norm(correction=1), "correction=0"),
    "collects the biased one": (norm(collected=0), "correction=1"),
    "no eps": (norm(eps=0.0), "layer.eps"),
    "no weight and bias": (norm(affine=False), "layer.weight"),
    "no root": (norm(root=False), "root"),
    "nothing moves": (norm(weight_of_new=lambda m: None), "stood still"),
    "keras's momentum": (norm(weight_of_new=lambda m: 1 - m), "weight of the new batch"),
    "replaced by the batch's": (norm(weight_of_new=lambda m: 1.0), "by the share"),
    "a tenth, always": (norm(weight_of_new=lambda m: 0.1), "read layer.momentum"),
    "moves in eval": (norm(always=True), "nothing moves"),
    "moved before they are used": (norm(moved_first=True), "after they moved"),
    "another tensor": (norm(replaces=True), "Write into the old one"),
    "calls the layer": (lambda x, layer: layer(x), "torch's batch_norm was called"),
    "calls its forward": (lambda x, layer: type(layer).forward(layer, x), "torch's batch_norm was called"),
    "calls the function": (
        lambda x, layer: nn.functional.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias),
        "torch's batch_norm was called",
    ),
    "writes into x": (in_place, "wrote into x"),
    "no return": (forgets, "return"),
}


# ---- kept_reader


def reader_with(train, init=None):
    class KeptReader(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.stem, self.block1 = net.stem.eval(), net.block1.eval()
            self.block2, self.head = net.block2, net.head
            if init:
                init(self)

    if train:
        KeptReader.train = train
    return KeptReader


def kept(self, mode=True):
    nn.Module.train(self, mode)
    self.stem.eval()
    self.block1.eval()
    return self


def returns_nothing(self, mode=True):
    kept(self, mode)


def without_the_mode(self, mode=True):
    return kept(self)


def round_and_round(self, mode=True):
    self.eval()
    self.block2.train(mode)
    return self


def top_flags_only(self, mode=True):
    nn.Module.train(self, mode)
    self.stem.training = self.block1.training = False
    return self


def stem_only(self, mode=True):
    nn.Module.train(self, mode)
    self.stem.eval()
    return self


def all_in_eval(self, mode=True):
    return nn.Module.train(self, False)


def without_super(self, mode=True):
    self.block2.train(mode)
    self.head.train(mode)
    return self


def norms_only(self, mode=True):
    nn.Module.train(self, mode)
    for module in [*self.stem.modules(), *self.block1.modules()]:
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return self


def frozen_parts(self):
    fl.freeze(self.stem)
    fl.freeze(self.block1)


WRONG_READERS = {
    "not overridden": (reader_with(None), "stay in eval"),
    "returns nothing": (reader_with(returns_nothing), "returns the module itself"),
    "the mode is not passed on": (reader_with(without_the_mode), "Pass `mode` on"),
    "calls self.eval": (reader_with(round_and_round), "round and round"),
    "the parts' own flags only": (reader_with(top_flags_only), "flags of their own"),
    "stem only": (reader_with(stem_only), "'block1'"),
    "everything in eval": (reader_with(all_in_eval), "is to follow"),
    "no super": (reader_with(without_super), "the model itself"),
    "BatchNorms only": (reader_with(norms_only), "'stem'"),
    "frozen": (reader_with(None, frozen_parts), "learnable"),
    "no class": (lambda net: net, "give the class itself"),
    "without a head": (reader_with(kept, lambda self: delattr(self, "head")), "leave __init__"),
}


# ---- switched_by_eval


def switched(pick, put_back=None):
    def switched_by_eval(model, extractor):
        flags = [(m, m.training) for m in (*model.modules(), *extractor.modules())]
        before = dict(fl.modes(model))
        extractor.eval()
        after = dict(fl.modes(model))
        if put_back:
            put_back(model, extractor, before, flags)
        else:
            exactly(model, extractor, before, flags)
        return pick(model, extractor, before, after)

    return switched_by_eval


def exactly(model, extractor, before, flags):
    for module, was in flags:
        module.training = was


def models_flags(model, extractor, before, flags):
    for name, mode in before.items():
        model.get_submodule(name).training = mode == "train"


def right(model, extractor, before, after):
    return [name for name in before if before[name] != after[name]]


def by_identity(model, extractor):
    theirs = set(extractor.modules())
    return [name for name, module in model.named_modules() if module in theirs and module.training]


def by_name(model, extractor):
    names = {name for name, _ in extractor.named_modules()}
    return [name for name, module in model.named_modules() if name in names and module.training]


def any_shared(model, extractor):
    theirs = set(extractor.modules())
    return [name for name, module in model.named_modules() if module in theirs]


WRONG_SWITCHED = {
    "nothing put back": (switched(right, lambda *args: None), "is left in eval"),
    "train() at the end": (switched(right, lambda m, e, *args: (m.train(), e.train())), "is left in"),
    "the model's flags only": (switched(right, models_flags), "of the extractor is left"),
    "by identity": (by_identity, "by a train() of its own"),
    "by name": (by_name, "Shared is the module itself"),
    "also those in eval": (any_shared, "in eval already"),
    "the modules": (switched(lambda m, *args: list(m.modules())), "a list of names"),
    "sorted": (switched(lambda *args: sorted(right(*args))[::-1]), "another order"),
    "how many": (switched(lambda *args: len(right(*args))), "a list of names"),
    "all in eval afterwards": (switched(lambda m, e, b, after: [n for n in after if after[n] == "eval"]), "it is"),
    "no return": (forgets, "return"),
}


# ---- keeping_modes


def keeping(note, restore, *, first=None, catch=()):
    """Return a manager that notes and restores as told; `catch` swallows, and without a finally it forgets."""

    @contextmanager
    def keeping_modes(model):
        found = note(model)
        if first:
            first(model)
        try:
            yield
        except catch:
            pass
        finally:
            restore(model, found)

    return keeping_modes


def pairs(model):
    return [(module, module.training) for module in model.modules()]


def write(model, found):
    for module, was in found:
        module.training = was


def write_by_name(model, found):
    for name, mode in found.items():
        model.get_submodule(name).training = mode == "train"


def train_each(model, found):
    for module, was in found:
        module.train(was)


@contextmanager
def no_finally(model):
    found = pairs(model)
    yield
    write(model, found)


@contextmanager
def but_interrupts(model):
    found = pairs(model)
    try:
        yield
    except Exception:
        write(model, found)
        raise
    write(model, found)


def all_else_to_train(model, found):
    model.train()
    write(model, found)


WRONG_KEEPING = {
    "the root's flag": (keeping(lambda m: m.training, lambda m, was: m.train(was)), "every module's own flag"),
    "no finally": (no_finally, "every way out"),
    "except Exception": (but_interrupts, "misses it"),
    "swallows": (keeping(pairs, write, catch=ZeroDivisionError), "swallowed"),
    "by name": (keeping(lambda m: dict(fl.modes(m)), write_by_name), "not their names"),
    "train(was) on each": (keeping(pairs, train_each), "overrides train()"),
    "in reverse": (keeping(pairs, lambda m, f: train_each(m, f[::-1])), "net."),
    "eval at once": (keeping(pairs, write, first=nn.Module.eval), "Inside the block"),
    "a new module is switched": (keeping(pairs, all_else_to_train), "added in the block"),
    "no manager": (lambda model: pairs(model), "@contextmanager"),
    "no return": (forgets, "contextmanager"),
}

WRONG = {
    "only_dropout": WRONG_DROPOUTS,
    "batch_norm": WRONG_NORMS,
    "kept_reader": WRONG_READERS,
    "switched_by_eval": WRONG_SWITCHED,
    "keeping_modes": WRONG_KEEPING,
}


@pytest.mark.parametrize(("name", "what"), [(name, what) for name in NAMES for what in WRONG[name]])
def test_a_wrong_answer_is_told_what_is_wrong(name, what):
    answer, word = WRONG[name][what]
    verdict = practice.check(name, answer)
    assert verdict.status == "not yet"
    assert word in verdict.message, verdict.message


def test_there_are_eight_wrong_answers_to_each():
    assert all(len(WRONG[name]) >= 8 for name in NAMES)


def test_other_right_answers_are_accepted():
    assert practice.check("kept_reader", reader_with(kept))
    assert practice.check("batch_norm", norm())
    assert practice.check("switched_by_eval", switched(right))
    assert practice.check("keeping_modes", keeping(pairs, write))
    assert practice.check("only_dropout", dropout_with((nn.Dropout, nn.Dropout2d, nn.AlphaDropout)))
