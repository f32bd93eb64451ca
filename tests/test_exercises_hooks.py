"""Lesson 04's exercises: typical wrong answers are told apart, other right ones accepted."""

from contextlib import ExitStack, contextmanager
from functools import partial

import folded
import numpy as np
import pytest
import torch

import featlab as fl
from featlab import practice

LESSON = "04_hooks"
kernel = folded.kernel(LESSON)
NAMES = ["negative_share", "call_order", "ablate", "stop_after", "my_capture"]


def test_the_capture_is_written_in_fifteen_lines():
    assert len([line for line in folded.solution(LESSON, "my_capture").splitlines() if line.strip()]) <= 15


# ---- typical wrong answers: exercise -> {what the learner wrote: (answer, a word of the message)}


def picked(model, name, x, keep):
    """Return what a hook keeps of the last call of a submodule."""
    kept = []
    handle = model.get_submodule(name).register_forward_hook(lambda m, args, output: kept.append(keep(output)))
    model(x)
    handle.remove()
    return kept[-1]


def forgets(*args):
    args = args[0]  # some work, and no return


def negative(value):
    return (value < 0).float().mean().item()


def hook_stays(model, name, x):
    shares = []
    model.get_submodule(name).register_forward_hook(lambda m, args, output: shares.append(negative(output)))
    model(x)
    return shares[-1]


def ran(model, names, x, *, note=None, remove=True):
    """Hook the names and return what was noted; `note` makes the hook from a name and the list."""
    noted = []
    note = note or (lambda name, noted: lambda *given: noted.append(name))
    handles = [model.get_submodule(name).register_forward_hook(note(name, noted)) for name in names]
    model(x)
    for handle in handles if remove else ():
        handle.remove()
    return noted


def late_names(model, names, x):
    noted, handles = [], []
    for name in names:
        hook = lambda *given: noted.append(name)  # noqa: B023, E731
        handles.append(model.get_submodule(name).register_forward_hook(hook))
    model(x)
    for handle in handles:
        handle.remove()
    return noted


def before_they_run(model, names, x):
    noted = []
    handles = [
        model.get_submodule(name).register_forward_pre_hook(lambda module, args, name=name: noted.append(name))
        for name in names
    ]
    model(x)
    for handle in handles:
        handle.remove()
    return noted


def hooked(change):
    """Return an ablation whose hook is `change(output, channel)`."""

    def ablate(model, name, channel):
        return model.get_submodule(name).register_forward_hook(lambda m, args, output: change(output, channel))

    return ablate


def written_in_place(output, channel):
    output[:, channel] = 0


def every_image(output, channel):
    output = output.clone()
    output[channel % len(output)] = 0
    return output


def once(model, name, channel):
    def silence(module, args, output):
        handle.remove()
        silenced = output.clone()
        silenced[:, channel] = 0
        return silenced

    handle = model.get_submodule(name).register_forward_hook(silence)
    return handle


def weights_at_zero(model, name, channel):
    module = model.get_submodule(name)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter[channel] = 0
    return module.register_forward_hook(lambda *given: None)


def removed_already(model, name, channel):
    handle = folded.solved(LESSON, "ablate")(model, name, channel)
    handle.remove()
    return handle


def no_handle(model, name, channel):
    folded.solved(LESSON, "ablate")(model, name, channel)


class Enough(Exception):
    pass


def stopping(*, catch=(Enough,), remove="finally", runs_on=False, at_end=LookupError):
    """Return a stop_after with one thing done differently."""

    def stop_after(model, name, x):
        kept = []

        def stop(module, args, output):
            kept.append(output.clone())
            if not runs_on:
                raise Enough

        handle = model.get_submodule(name).register_forward_hook(stop)
        try:
            model(x)
            if remove in ("after", "except Exception"):
                handle.remove()
        except catch:
            if remove in ("except", "except Exception"):
                handle.remove()
            return kept[0] if kept else None
        except Exception:
            if remove == "except Exception":
                handle.remove()
            raise
        finally:
            if remove == "finally":
                handle.remove()
        if kept:
            return kept[0]
        if at_end:
            raise at_end("it never ran")
        return None

    return stop_after


def capturing(*, keep=torch.clone, out="finally", swallow=False, late=False, door="inside", last=False, clear=False):
    """Return a my_capture with one thing done differently."""

    @contextmanager
    def my_capture(model, names):
        seen, handles = {name: [] for name in names}, []

        def register():
            for name in names:
                late_name = lambda m, args, output: seen[name].append(keep(output))  # noqa: B023, E731
                hook = late_name if late else partial(kept, name)
                handles.append(model.get_submodule(name).register_forward_hook(hook))

        def kept(name, module, args, output):
            if last:
                seen[name] = keep(output)
            else:
                seen[name].append(keep(output))

        def remove():
            for handle in handles:
                handle.remove()
            if clear:
                for name in names:
                    model.get_submodule(name)._forward_hooks.clear()

        if door == "before":
            register()
        try:
            if door == "inside":
                register()
            yield seen
        except Exception:
            if out == "except":
                remove()
            if not swallow:
                raise
        else:
            if out in ("else", "except"):
                remove()
        finally:
            if out == "finally":
                remove()

    return my_capture


def looking(find):
    """Return a right my_capture that finds submodules by `find(model, name)`, and skips those that are None."""

    @contextmanager
    def my_capture(model, names):
        seen = {name: [] for name in names}
        with ExitStack() as stack:
            for name in names:
                if (module := find(model, name)) is not None:
                    keep = lambda m, args, output, name=name: seen[name].append(output.clone())  # noqa: E731
                    stack.enter_context(module.register_forward_hook(keep))
            yield seen

    return my_capture


@contextmanager
def handles_too_late(model, names):
    seen = {name: [] for name in names}
    try:
        handles = [
            model.get_submodule(name).register_forward_hook(
                lambda m, args, output, name=name: seen[name].append(output.clone())
            )
            for name in names
        ]
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def skips_and_leaves(model, names):
    with capturing(out="never")(model, [name for name in names if name in dict(model.named_modules())]) as seen:
        yield seen


def just_a_dict(model, names):
    return {name: [] for name in names}


@contextmanager
def yields_nothing(model, names):
    with capturing()(model, names):
        yield


WRONG = {
    "negative_share": {
        "kept without clone": (lambda m, n, x: negative(picked(m, n, x, lambda o: o)), "Keep a clone"),
        "kept with detach": (lambda m, n, x: negative(picked(m, n, x, torch.detach)), "Keep a clone"),
        "hook stays": (hook_stays, "hook of yours stays"),
        "percent": (lambda m, n, x: 100 * picked(m, n, x, negative), "in percent"),
        "counted": (lambda m, n, x: picked(m, n, x, lambda o: (o < 0).sum().item()), "divide by how many"),
        "zero counts": (lambda m, n, x: picked(m, n, x, lambda o: (o <= 0).float().mean().item()), "Zero is not"),
        "the others": (lambda m, n, x: 1 - picked(m, n, x, negative), "the others"),
        "the model's output": (lambda m, n, x: negative(m(x)), "overwritten|whole model"),
        "forgets return": (forgets, "`return` missing"),
        "called by itself": (lambda m, n, x: negative(m.get_submodule(n)(torch.ones(2, 4, 5, 5))), "do not call it"),
        "a tensor": (lambda m, n, x: picked(m, n, x, lambda o: o < 0), "one number is asked"),
        "switches the mode": (lambda m, n, x: picked(m.train(), n, x, negative), "modes of|it is"),
    },
    "call_order": {
        "lambda in the loop": (late_names, "the last name"),
        "as asked": (lambda m, names, x: list(names), "The forward decides"),
        "as they start": (before_they_run, "finishes after"),
        "each once": (lambda m, names, x: list(dict.fromkeys(ran(m, names, x))), "stands there as often"),
        "hooks stay": (lambda m, names, x: ran(m, names, x, remove=False), "hook of yours stays"),
        "every module": (lambda m, names, x: ran(m, [n for n, _ in m.named_modules()], x), "asked for"),
        "class names": (
            lambda m, names, x: ran(m, names, x, note=lambda n, noted: lambda m, *g: noted.append(type(m).__name__)),
            "asked for",
        ),
        "no forward": (lambda m, names, x: [], "then call model(x)"),
        "two forwards": (lambda m, names, x: ran(m, names, x) * 2, "there twice"),
        "forgets return": (forgets, "`return` missing"),
    },
    "ablate": {
        "in place": (hooked(written_in_place), "reads too"),
        "in place, and returned": (hooked(lambda o, c: written_in_place(o, c) or o), "reads too"),
        "returns nothing": (hooked(lambda o, c: written_in_place(o.clone(), c)), "None means"),
        "an image": (hooked(every_image), "axis 1"),
        "all channels": (hooked(lambda o, c: o * 0), "all zero|axis 1"),
        "only the channel": (hooked(lambda o, c: o[:, c]), "the forward raised"),
        "weights": (weights_at_zero, "weights have changed"),
        "once": (once, "a second forward"),
        "removed at once": (removed_already, "removed already"),
        "no handle": (no_handle, "return the handle"),
    },
    "stop_after": {
        "runs to the end": (stopping(runs_on=True), "it can raise"),
        "hook stays": (stopping(remove="never"), "stays on"),
        "removed after the forward": (stopping(remove="after"), "stays on"),
        "removed when it stopped": (stopping(remove="except"), "After a forward that raised by itself"),
        "removed on errors": (stopping(remove="except Exception"), "KeyboardInterrupt is none"),
        "hides errors": (stopping(catch=Exception), "hid its error"),
        "hides everything": (stopping(catch=BaseException), "hid its error"),
        "hides interrupts": (stopping(catch=(Enough, KeyboardInterrupt)), "pressed Interrupt, and you went on"),
        "None at the end": (stopping(at_end=None), "Raise a LookupError"),
        "another error": (stopping(at_end=RuntimeError), "LookupError|never ran"),
        "called by itself": (lambda m, n, x: m.get_submodule(n)(torch.ones(2, 4, 5, 5)), "did not stop|other values"),
        "forgets return": (forgets, "`return` missing"),
    },
    "my_capture": {
        "no clone": (capturing(keep=lambda o: o), "lost its negative"),
        "detach": (capturing(keep=torch.detach), "lost its negative"),
        "no finally": (capturing(out="else"), "what follows `yield` is skipped"),
        "except Exception": (capturing(out="except"), "`except Exception` misses it"),
        "never removed": (capturing(out="never"), "Remove it when the block ends"),
        "swallows": (capturing(swallow=True), "swallowed it"),
        "set before the try": (capturing(door="before"), "inside the `try`"),
        "handles after the hooks": (handles_too_late, "a list that is there"),
        "skips a wrong name and leaves": (skips_and_leaves, "stays on"),
        "lambda in the loop": (capturing(late=True), "loop's variable too late"),
        "the last call only": (capturing(last=True), "a list is asked"),
        "removes all hooks": (capturing(clear=True), "was on 'first' before is gone"),
        "no context manager": (just_a_dict, "can stand behind `with`"),
        "yields nothing": (yields_nothing, "`yield` the dict"),
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
    assert len(set(messages.values())) >= 6, messages


def stops_in_front_of_other_hooks(model, name, x):
    def stop(module, args, output):
        raise Enough(output)

    with model.get_submodule(name).register_forward_hook(stop, prepend=True):
        try:
            model(x)
        except Enough as enough:
            return enough.args[0]
    raise LookupError(name)


def fl_capture_as_lists(model, names):
    """Write my_capture by featlab's own, whose repeats are numbered."""

    @contextmanager
    def block():
        result = {name: [] for name in names}
        with fl.capture(model, names) as seen:
            yield result
        for label, value in seen.items():
            base = label if label in result else label.rpartition("_")[0]
            result[base].append(value)

    for name in names:
        model.get_submodule(name)  # raises AttributeError
    return block()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("negative_share", lambda m, n, x: negative(fl.features(m, x, n)[n])),
        ("negative_share", lambda m, n, x: torch.tensor(negative(picked(m, n, x, torch.clone)))),
        ("negative_share", lambda m, n, x: np.float32(negative(picked(m, n, x, torch.clone)))),
        ("call_order", lambda m, names, x: tuple(ran(m, names, x))),
        ("ablate", hooked(lambda o, c: o.index_fill(1, torch.tensor(c), 0))),
        ("stop_after", lambda m, n, x: fl.features(m, x, n)[n]),
        ("stop_after", stops_in_front_of_other_hooks),
        ("my_capture", fl_capture_as_lists),
        ("my_capture", looking(lambda model, name: dict(model.named_modules())[name])),
        ("my_capture", looking(lambda model, name: dict(model.named_modules()).get(name))),
        ("my_capture", capturing(keep=lambda o: o.detach().clone())),
    ],
)
def test_other_right_ways_are_accepted(name, answer):
    verdict = practice.check(name, answer)
    assert verdict, verdict.message
