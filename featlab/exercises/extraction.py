"""Checks of lesson 05, part one: nearest features, shared parameters, and a twin that shares them."""

import copy

import torch
from torch import Tensor, nn

from featlab.exercises import Wrong, describe, exercise
from featlab.states import changed, model_state, same

LESSON = "05_feature_extraction"


class Sorter(nn.Module):
    """A model that no learner has seen: nested, with an in-place ReLU called twice and a flatten between modules."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.relu = nn.ReLU(inplace=True)
        self.body = nn.Sequential(nn.Sequential(nn.Conv2d(4, 6, 3), nn.Tanh()), nn.Conv2d(6, 6, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.body(self.relu(self.stem(x))))
        return self.fc(self.pool(x).flatten(1))


def new_model(kind: type[nn.Module] = Sorter) -> tuple[nn.Module, Tensor]:
    """Return a model in eval mode, its BatchNorm away from the identity, and a batch for it."""
    torch.manual_seed(0)  # `judge` puts the generator back
    model = kind().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model, torch.randn(2, 3, 6, 6)


def as_found(model: nn.Module, before: dict, given: str, advice: str = "") -> None:
    after = model_state(model)
    for kind, was in before.items():
        if moved := changed(was, after[kind]):
            names = ", ".join(name or "the model itself" for name in moved[:3])
            raise Wrong(f"{given} the model's {kind} have changed: {names}. Leave it as it was. {advice}".strip())


# ---- nearest


@exercise(LESSON)
def nearest(answer) -> str:
    """Compare with cosines computed one by one in float64."""
    torch.manual_seed(0)
    for shape, k in [((12, 5), 4), ((9, 3, 2, 2), 3), ((7, 4), 7), ((6, 2, 3), 1)]:
        features = torch.randn(shape) * torch.logspace(-2, 2, shape[0]).view(-1, *[1] * (len(shape) - 1))
        features = features[torch.randperm(shape[0])]
        query = torch.randn(shape[1:])
        given, before = f"With features {tuple(shape)}, a query {tuple(query.shape)} and k={k}", features.clone()
        try:
            got = answer(features, query, k)
        except (RuntimeError, IndexError) as error:
            if features.ndim == 2:
                raise
            what = f"{given} your code raised: {str(error).splitlines()[0]}."
            raise Wrong(f"{what} One feature may have several axes: flatten it to one row.") from error
        if isinstance(got, list | tuple):
            got = torch.tensor(got)
        if not isinstance(got, Tensor):
            missing = " Is a `return` missing?" if got is None else ""
            raise Wrong(f"{given} you gave {describe(got)}; a tensor of {k} indices is asked.{missing}")
        _right_neighbours(got, features, query, k, given)
        if not same(features, before):
            raise Wrong(f"{given} your code wrote into the features. Divide with `/`, which makes a new tensor.")
    return "The same neighbours as by cosines one by one, for features of one, two and three axes."


def _right_neighbours(got: Tensor, features: Tensor, query: Tensor, k: int, given: str) -> None:
    rows, one = features.double().flatten(1), query.double().flatten()
    dots, lengths = rows @ one, rows.norm(dim=1) * one.norm()
    cosines, order = (dots / lengths).sort(descending=True)
    if got.is_floating_point():
        raise Wrong(f"{given} you gave {describe(got)}: how alike they are. Which ones they are is asked: `.indices`.")
    if got.numel() != k:
        flat = " Flatten first: one row for each feature." if features.ndim > 2 else ""
        raise Wrong(
            f"{given} you gave {got.numel()} numbers, of shape {tuple(got.shape)}; {k} indices are asked.{flat}"
        )
    got = got.flatten().cpu()
    if torch.equal(got, order[:k]):
        return
    if torch.equal(got, order.flip(0)[:k]):
        raise Wrong(f"{given} these are the farthest. A large cosine means alike, unlike a large distance.")
    if torch.equal(got.sort().values, order[:k].sort().values):
        raise Wrong(f"{given} the right ones came in another order; the most alike comes first.")
    if torch.equal(got, dots.argsort(descending=True)[:k]):
        why = "A dot product grows with the length of the feature: divide by the lengths first."
    elif torch.equal(got, (rows - one).norm(dim=1).argsort()[:k]):
        why = "That is nearest by distance. Directions are asked: a feature and its double are the same."
    else:
        why = f"The most alike is row {int(order[0])}, with cosine {cosines[0]:.2f}; yours begins with {int(got[0])}."
    raise Wrong(f"{given} other rows are nearer. {why}")


# ---- shared_parameters


@exercise(LESSON)
def shared_parameters(answer) -> str:
    """Compare with pairs whose sharing is known by the way they were made."""
    model, _ = new_model()
    every = [name for name, _ in model.named_parameters()]
    chain = nn.Sequential(model.stem, nn.ReLU())
    tied = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 5))
    tied[0].weight = model.fc.weight
    rewrapped = nn.Linear(6, 5)
    rewrapped.weight = nn.Parameter(model.fc.weight.detach())
    cut = nn.Linear(6, 3)
    cut.weight = nn.Parameter(model.fc.weight.detach()[2:])
    half = copy.deepcopy(model)
    half.stem = model.stem
    stems = [name for name in every if name.startswith("stem")]
    for what, other, true, why in [
        ("the model itself", model, every, "All of them are the same."),
        ("a chain of its stem and a ReLU", chain, stems, _NAMES),
        ("a deep copy of it", copy.deepcopy(model), [], "Equal values in memory of their own are not shared."),
        ("a deep copy with the stem put back", half, stems, "The names are equal everywhere; the memory is not."),
        ("a model that ties its own first weight to fc", tied, ["fc.weight"], _NAMES),
        ("a Linear whose weight was made from fc.weight.detach()", rewrapped, ["fc.weight"], _REWRAPPED),
        ("a Linear whose weight is the last rows of fc.weight", cut, ["fc.weight"], _CUT),
    ]:
        before = model_state(model), model_state(other)
        got = _names(_asked(answer, model, other, what), f"With a model and {what}")
        for found, was in zip((model, other), before, strict=True):
            as_found(found, was, f"With a model and {what}")
        if got != set(true):
            said = f"you gave {_listed(got)}; shared are {_listed(true)}"
            raise Wrong(f"With a model and {what} {said}. {_why_not_shared(got, other, why)}")
    return "Seven pairs told apart, two of them with other Parameter objects on one storage."


_NAMES = "Shared is what lies in the same memory, under whatever name; give the names that `a` uses."
_REWRAPPED = "Two Parameter objects can read one storage, so `is` and `id` miss it: compare addresses."
_CUT = "`data_ptr()` is where a tensor begins, and this one begins in the middle of the other: ask for its storage."


def _asked(answer, model: nn.Module, other: nn.Module, what: str):
    try:
        return answer(model, other)
    except RuntimeError as error:
        if "must match the size" not in str(error):
            raise
        raise Wrong(
            f"With a model and {what} your code raised: {error}. `in` and `==` compare tensors by their values, and "
            "these differ in shape. Compare where they lie."
        ) from error


def _names(got, given: str) -> set[str]:
    if not isinstance(got, list | tuple | set | dict) or not all(isinstance(name, str) for name in got):
        missing = " Is a `return` missing?" if got is None else ""
        shown = describe(got) if not isinstance(got, list | tuple) else f"a {type(got).__name__} with other things"
        raise Wrong(f"{given} you gave {shown}; a list of names is asked.{missing}")
    return set(got)


def _listed(names) -> str:
    names = sorted(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "none"


def _why_not_shared(got: set[str], other: nn.Module, why: str) -> str:
    theirs = {name for name, _ in other.named_parameters()}
    return "These are the names in `b`; those in `a` are asked." if why is _NAMES and got and got <= theirs else why


# ---- identity_twin


@exercise(LESSON)
def identity_twin(answer) -> str:
    """Run the twin beside the model, and look at what both hold."""
    for name in ["fc", "relu"]:
        model, x = new_model()
        model.relu.register_forward_hook(lambda module, args, output: None)  # a hook of the user's own
        given, before, whole = f"After identity_twin(model, '{name}')", model_state(model), model(x.clone())
        children = dict(model._modules)
        twin = answer(model, name)
        if not isinstance(twin, nn.Module):
            missing = " Is a `return` missing?" if twin is None else ""
            raise Wrong(f"{given} you gave {describe(twin)}; a model is asked.{missing}")
        _untouched(model, twin, children, given)
        as_found(model, before, given, "Change the twin only.")
        _right_twin(model, twin, name, x, given)
        if not torch.equal(model(x.clone()), whole):
            raise Wrong(f"{given} the model gives other numbers than before.")
    return "Two twins, one without a module that is called twice; they share, and the model gives what it gave."


def _untouched(model: nn.Module, twin: nn.Module, children: dict, given: str) -> None:
    lost = [key for key, child in children.items() if model._modules.get(key) is not child]
    if twin is model:
        was = "and it has changed" if lost else "without a change"
        raise Wrong(f"{given} you gave the model itself, {was}. The twin must be another object.")
    if lost and twin._modules is model._modules:
        raise Wrong(
            f"{given} the model has lost its own '{lost[0]}': copy.copy makes a new module, and both hold one dict of "
            "children, `_modules`. Give the twin a dict of its own."
        )
    if lost:
        raise Wrong(f"{given} the model has lost its own '{lost[0]}'. Copy before you replace.")


def _right_twin(model: Sorter, twin: nn.Module, name: str, x: Tensor, given: str) -> None:
    cut = copy.deepcopy(model)
    setattr(cut, name, nn.Identity())
    foreign = {id(p) for p in twin.parameters()} - {id(p) for p in model.parameters()}
    if foreign:
        copies = sum(id(p) in foreign for p in twin.parameters())
        raise Wrong(f"{given} {copies} of the twin's parameters are copies. It must train with the model: share them.")
    true = cut(x.clone())
    try:
        got = twin(x.clone())
    except Exception as error:
        raise Wrong(f"{given} the twin raised {type(error).__name__}: {error}. {_RUNS}") from error
    if not isinstance(got, Tensor) or got.shape != true.shape or not torch.allclose(got, true, atol=1e-6):
        raise Wrong(f"{given} the twin gives {describe(got)}, not what its forward gives without '{name}'. {_RUNS}")
    if not isinstance(getattr(twin, name, None), nn.Identity):
        raise Wrong(
            f"{given} the twin has no child '{name}' that is an nn.Identity. Replace it once, when you build it."
        )


_RUNS = "The rest of the forward, such as a flatten or a second call of relu, must still run: keep the class."
