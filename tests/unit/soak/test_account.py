"""A soak can only be believed if its account sees what goes wrong."""

import pytest

from tests.soak.account import Account, Totals

_TABS = {0: "a", 1: "a", 2: "b"}


@pytest.fixture
def account() -> Account:
    return Account(_TABS)


def _accept(account: Account, key: str, *numbers: int) -> None:
    for number in numbers:
        account.accept(key, number, at=0.0)


def _handle(account: Account, tab: int, *numbers: int) -> None:
    for number in numbers:
        account.wire(tab, number)
        account.handle(tab, number, at=1.0)


def test_each_tab_of_a_key_is_owed_each_message(account: Account) -> None:
    _accept(account, "a", 1, 2)
    _accept(account, "b", 1)
    _handle(account, 0, 1, 2)
    totals = account.totals()
    assert (totals.accepted, totals.owed, totals.delivered, totals.lost) == (3, 5, 2, 3)
    assert account.lacking() == ["tab 1 of a lacks [1, 2]", "tab 2 of b lacks [1]"]
    assert not totals.kept


def test_all_once_in_order_is_a_promise_kept(account: Account) -> None:
    _accept(account, "a", 1, 2)
    for tab in (0, 1):
        _handle(account, tab, 1, 2)
    assert account.totals() == Totals(accepted=2, owed=4, delivered=4)
    assert account.totals().kept
    assert account.waiting() == 0


def test_a_second_time_counts_at_the_wire_and_at_the_handler(account: Account) -> None:
    _accept(account, "b", 1)
    _handle(account, 2, 1, 1)
    account.wire(2, 1)
    totals = account.totals()
    assert (totals.duplicates_at_wire, totals.duplicates_at_handler, totals.out_of_order) == (2, 1, 0)
    assert not totals.kept


def test_a_message_after_a_later_one_is_out_of_order(account: Account) -> None:
    _accept(account, "b", 1, 2, 3)
    _handle(account, 2, 1, 3, 2)
    totals = account.totals()
    assert (totals.out_of_order, totals.lost, totals.duplicates_at_handler) == (1, 0, 0)
    assert not totals.kept


def test_what_nobody_promised_is_no_loss_and_is_named(account: Account) -> None:
    _handle(account, 2, 1)
    assert account.totals() == Totals(unpromised=1)


def test_a_later_run_is_told_by_the_difference(account: Account) -> None:
    _accept(account, "b", 1)
    before = account.totals()
    _handle(account, 2, 1)
    _accept(account, "b", 2)
    assert account.totals() - before == Totals(accepted=1, owed=1, delivered=1, lost=0)
