"""The audit against what people reported: each sick case is named by its own code, each mended twin is silent."""

import re
from collections import Counter

import pytest
import torch
from reported import CASES, Case

import featlab as fl
from featlab import audits, trials
from featlab.states import process_state, put_back, same


@pytest.fixture(autouse=True)
def as_found():
    """A case may leave grad mode off: that is what it is about."""
    with put_back():
        torch.manual_seed(0)
        yield


def codes(case: Case, *, sick: bool) -> list[str]:
    model, optimizer, x = case.build(sick)
    return fl.audit(model, optimizer=optimizer, x=x).codes


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_sick_case_is_named_by_its_own_code(case):
    assert case.code in codes(case, sick=True)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_its_mended_twin_is_silent(case):
    assert codes(case, sick=False) == []


@pytest.mark.parametrize("case", CASES, ids=str)
def test_without_its_rule_it_is_not_named(case, monkeypatch):
    for registry in ("RULES", "TRIALS"):  # copies: what is deleted and put back would stand last
        others = {code: one for code, one in getattr(audits, registry).items() if code != case.code}
        monkeypatch.setattr(audits, registry, others)
    assert case.code not in codes(case, sick=True)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_audit_leaves_it_as_found(case):
    model, optimizer, x = case.build(True)
    before = process_state()
    with fl.watch(model, optimizer=optimizer if not isinstance(optimizer, list) else optimizer[0]) as did:
        fl.audit(model, optimizer=optimizer, x=x)
    assert not did
    after = process_state()
    assert [name for name in before if not same(before[name], after[name])] == []


def test_there_are_forty_reports_of_fifteen_mechanisms_and_none_counts_for_many():
    by_code = Counter(case.code for case in CASES)
    assert len(CASES) >= 40 and len(by_code) >= 15 and max(by_code.values()) <= 4
    assert len({case.report for case in CASES}) == len(CASES)
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", case.report) for case in CASES)
    assert by_code.keys() <= audits.RULES.keys() | trials.TRIALS.keys()
