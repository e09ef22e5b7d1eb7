"""The coordinator of leased budgets by itself: what it grants, takes back, frees and refuses, step by step."""

from __future__ import annotations

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tieline.gateway.budgets.lease import (
    CONCURRENT,
    EXTRA_SHARE,
    GRACE_S,
    LEASE_S,
    RENEW_EVERY_S,
    REQUESTS,
    TOKENS,
    Coordinator,
    Fenced,
    Granted,
    Lacking,
    LeaseAccount,
    Unknown,
    limited,
)

BUDGET, KEY = "tenant:t|2026-11", "key:a|2026-11"
SLOTS, RATE = f"tenant:t|{CONCURRENT}", f"tenant:t|{REQUESTS}"


def coordinator(**limits: int) -> Coordinator:
    return Coordinator({"tenant:t": 800, "key:a": 400, SLOTS: 16, RATE: 60, **limits})


def ask(
    one: Coordinator, *names: str, least: int = 1, most: int = 10, extra: int = 0, now: float = 0.0, calm: bool = False
) -> Granted | Lacking | Fenced | Unknown:
    """As gateway g, which joined first."""
    return one.ask("g", 1, names, least, most, now, extra=extra, calm=calm)


@pytest.fixture
def joined() -> Coordinator:
    made = coordinator()
    assert made.join("g", {}, 0.0) == 1
    return made


def test_an_accounts_name_says_what_it_limits() -> None:
    assert [limited(f"s|{kind}") for kind in (CONCURRENT, REQUESTS, TOKENS)] == [CONCURRENT, REQUESTS, TOKENS]
    assert limited(BUDGET) == ""
    assert limited("requests") == "requests"  # a name without a scope is all kind
    assert limited("a|requests|2026-11") == ""
    assert (LEASE_S, GRACE_S, RENEW_EVERY_S, EXTRA_SHARE) == (6.0, 3.0, 1.0, 8)


def test_an_account_is_made_when_it_is_first_named_and_drains_if_it_is_a_rate() -> None:
    one = coordinator()
    assert one.account("tenant:x|2026-11") is None
    assert one.account(f"tenant:x|{TOKENS}") is None
    made = one.account(BUDGET)
    assert made is one.account(BUDGET)
    assert made == LeaseAccount(800, drains=False)
    assert one.account(SLOTS) == LeaseAccount(16, drains=False)
    assert one.account(RATE) == LeaseAccount(60, drains=True)
    assert Coordinator({f"a|{TOKENS}": 5}).account(f"a|{TOKENS}") == LeaseAccount(5, drains=True)


def test_what_is_granted_is_the_most_that_all_budgets_have(joined: Coordinator) -> None:
    assert ask(joined, BUDGET, KEY, most=100) == Granted(100, {BUDGET: 0, KEY: 0})
    assert joined.accounts[BUDGET].leased == {"g": 100}
    assert ask(joined, BUDGET, KEY, least=300, most=900) == Granted(300, {BUDGET: 0, KEY: 0})
    assert (joined.accounts[BUDGET].free, joined.accounts[KEY].free) == (400, 0)
    assert ask(joined, BUDGET, KEY) == Lacking((KEY,))
    assert ask(joined, BUDGET, KEY, least=401) == Lacking((BUDGET, KEY))
    assert joined.accounts[BUDGET].leased == {"g": 400}  # what is refused changes nothing


def test_a_slice_grows_beyond_the_need_by_an_eighth_of_what_is_left(joined: Coordinator) -> None:
    assert ask(joined, BUDGET, most=80, extra=1_000) == Granted(80, {BUDGET: 90})
    assert joined.accounts[BUDGET].leased == {"g": 170}
    assert ask(joined, BUDGET, most=80, extra=5) == Granted(80, {BUDGET: 5})
    assert joined.accounts[BUDGET].leased == {"g": 255}


def test_a_limit_takes_one_of_each_request_and_grows_only_in_calm_to_its_share(joined: Coordinator) -> None:
    assert ask(joined, BUDGET, SLOTS, most=80, extra=100) == Granted(80, {BUDGET: 90, SLOTS: 0})
    assert joined.accounts[SLOTS].leased == {"g": 1}
    assert ask(joined, SLOTS, most=1, extra=100, calm=True) == Granted(1, {SLOTS: 1})  # 16 // 8 less the one it has
    assert joined.accounts[SLOTS].leased == {"g": 3}
    assert ask(joined, SLOTS, most=1, extra=100, calm=True) == Granted(1, {SLOTS: 0})
    assert joined.accounts[SLOTS].leased == {"g": 4}
    assert joined.ask("g", 1, (SLOTS,), 1, 1, 0.0, extra=9) == Granted(1, {SLOTS: 0})  # nobody said that it is calm
    joined.accounts[SLOTS].leased = {"g": 4}
    joined.accounts[SLOTS].leased["other"] = 12
    assert ask(joined, SLOTS, least=0, most=1) == Lacking((SLOTS,))
    joined.accounts[SLOTS].leased["other"] = 11
    assert ask(joined, SLOTS, least=9, most=9) == Granted(9, {SLOTS: 0})


def test_shares_grow_by_whole_units() -> None:
    one = coordinator(**{SLOTS: 20})
    one.join("g", {}, 0.0)
    assert ask(one, BUDGET, SLOTS, most=81, extra=100, calm=True) == Granted(81, {BUDGET: 89, SLOTS: 2})
    assert ask(one, SLOTS, most=1) == Granted(1, {SLOTS: 0})  # nobody said that it is calm
    other = coordinator(**{SLOTS: 20})
    other.join("g", {}, 0.0)
    assert other.ask("g", 1, (SLOTS,), 1, 1, 0.0, extra=9) == Granted(1, {SLOTS: 0})
    assert ask(other, SLOTS, most=1, calm=True) == Granted(1, {SLOTS: 1})
    assert {type(held) for account in one.accounts.values() for held in account.leased.values()} == {int}


def test_a_budget_that_is_not_known_is_waited_for(joined: Coordinator) -> None:
    assert ask(joined, BUDGET, "tenant:x|2026-11") == Unknown()
    assert joined.accounts[BUDGET].leased == {}


def test_who_is_no_member_or_an_earlier_self_is_fenced(joined: Coordinator) -> None:
    assert joined.ask("h", 1, (BUDGET,), 1, 1, 0.0, extra=0) == Fenced()
    assert joined.ask("g", 0, (BUDGET,), 1, 1, 0.0, extra=0) == Fenced()
    assert joined.join("g", {}, 0.0) == 2
    assert ask(joined, BUDGET) == Fenced()
    assert not joined.renew("g", 1, 0.0)
    assert joined.renew("g", 2, 0.0)
    assert not joined.renew("h", 2, 0.0)


def test_a_lease_lasts_from_when_it_was_last_renewed_and_is_freed_after_its_grace(joined: Coordinator) -> None:
    assert joined.lapsed(LEASE_S + GRACE_S - 0.1) == []
    assert joined.lapsed(LEASE_S + GRACE_S) == ["g"]
    assert joined.renew("g", 1, 5.0)
    assert joined.lapsed(5.0 + LEASE_S + GRACE_S - 0.1) == []
    assert joined.lapsed(5.0 + LEASE_S + GRACE_S) == ["g"]
    ask(joined, BUDGET, now=7.0)  # a question renews as well
    assert joined.lapsed(7.0 + LEASE_S + GRACE_S - 0.1) == []


def test_a_member_that_is_over_leaves_what_its_disk_says_was_spent(joined: Coordinator) -> None:
    ask(joined, BUDGET, most=100)
    joined.drop("g", {BUDGET: 30}, 1.0)
    account = joined.accounts[BUDGET]
    assert (account.leased, account.durable, account.free) == ({}, {"g": 30}, 770)
    assert joined.members == {}
    assert ask(joined, BUDGET) == Fenced()


def test_of_a_member_whose_disk_cannot_be_read_all_that_it_was_given_counts_as_spent(joined: Coordinator) -> None:
    joined.known("g", {BUDGET: 20})
    ask(joined, BUDGET, SLOTS, most=100)
    joined.join("h", {}, 0.0)
    joined.drop("g", None, 1.0)
    assert joined.accounts[BUDGET].durable == {"g": 120}
    assert joined.accounts[SLOTS].durable == {}  # its slots are free: no request of it runs
    assert joined.accounts[SLOTS].leased == {}
    joined.drop("h", None, 1.0)
    assert joined.accounts[BUDGET].durable == {"g": 120}


def test_what_it_reserved_as_an_earlier_self_it_still_has_when_it_joins_again(joined: Coordinator) -> None:
    ask(joined, BUDGET, most=100)
    fence = joined.join("g", {BUDGET: 30}, 2.0, {BUDGET: 25, KEY: 0, "tenant:x|2026-11": 9})
    assert fence == 2
    assert joined.accounts[BUDGET].leased == {"g": 25}
    assert joined.accounts[BUDGET].durable == {"g": 30}
    assert joined.accounts[KEY].leased == {}
    assert joined.members["g"].expires == 2.0 + LEASE_S
    assert joined.join("h", {}, 2.0) == 3
    assert joined.join("i", {}, 2.0, {KEY: 1}) == 4
    assert joined.accounts[KEY].leased == {"i": 1}


def test_a_rate_that_it_claims_is_not_counted_as_used_as_well(joined: Coordinator) -> None:
    ask(joined, RATE, most=1)
    ask(joined, RATE, most=1)
    joined.join("g", {}, 0.0, {RATE: 1})  # its share of 2 was taken for used; of these it has 1
    account = joined.accounts[RATE]
    assert (account.leased, account.durable[""], account.free) == ({"g": 1}, 1, 58)
    joined.join("g", {}, 0.0, {RATE: 5})
    assert (account.leased, account.durable[""]) == ({"g": 5}, 0)
    other = coordinator()
    other.join("g", {}, 0.0, {RATE: 2})  # nobody has asked for it here yet
    assert (other.accounts[RATE].leased, other.accounts[RATE].durable) == ({"g": 2}, {"": 0})


def test_a_rate_comes_back_by_its_limit_a_minute_in_whole_units() -> None:
    account = LeaseAccount(60, drains=True, at=100.0)
    account.use(10)
    assert account.free == 50
    account.drain(100.5)
    assert (account.durable[""], account.at) == (10, 100.0)
    account.drain(103.5)
    assert (account.durable[""], account.at) == (7, 103.0)  # the half second is kept
    account.drain(104.0)
    assert (account.durable[""], account.at) == (6, 104.0)
    account.drain(110.0)
    assert (account.durable[""], account.at) == (0, 110.0)
    account.use(3)
    account.drain(200.0)
    assert (account.durable[""], account.at) == (0, 200.0)
    slow = LeaseAccount(6, drains=True)
    slow.use(2)
    slow.drain(15.0)
    assert (slow.durable[""], slow.at) == (1, 10.0)
    unused = LeaseAccount(60, drains=True, at=100.0)
    unused.drain(100.5)
    assert (unused.durable[""], unused.at) == (0, 100.5)
    unused.use(10)
    unused.drain(111.25)  # all of it came back, and nothing is saved for what is used next
    assert (unused.durable[""], unused.at) == (0, 111.25)
    whole = LeaseAccount(60)
    whole.use(10)
    whole.drain(1e6)
    assert (whole.durable[""], whole.at) == (10, 0.0)


def test_a_question_drains_first(joined: Coordinator) -> None:
    for _ in range(60):
        assert isinstance(ask(joined, RATE, most=1), Granted)
    assert ask(joined, RATE) == Lacking((RATE,))
    joined.used("g", 1, {RATE: (60, 60)}, 0.0)
    assert ask(joined, RATE) == Lacking((RATE,))
    assert isinstance(ask(joined, RATE, now=1.0), Granted)


def test_what_was_used_of_a_rate_leaves_the_slice_and_is_used(joined: Coordinator) -> None:
    for _ in range(3):
        ask(joined, RATE, most=1)
    account = joined.accounts[RATE]
    joined.used("g", 1, {RATE: (2, 2)}, 0.0)
    assert (account.leased, account.durable) == ({"g": 1}, {"": 2})
    joined.used("g", 1, {RATE: (4, 3)}, 0.0)
    assert (account.leased, account.durable) == ({"g": 0}, {"": 6})
    joined.used("g", 1, {RATE: (1, 0)}, 2.0)
    assert account.durable == {"": 5}  # two came back, one was used
    joined.used("g", 1, {RATE: (0, 0)}, 3.0)
    assert account.durable == {"": 4}
    joined.used("g", 1, {RATE: (-1, 0), f"tenant:x|{REQUESTS}": (1, 0)}, 3.0)
    joined.used("g", 2, {RATE: (9, 0)}, 3.0)
    joined.used("h", 1, {RATE: (9, 0)}, 3.0)
    assert account.durable == {"": 4}
    joined.account(BUDGET)
    joined.used("g", 1, {BUDGET: (9, 0)}, 3.0)
    assert joined.accounts[BUDGET].durable == {}
    joined.used("g", 1, {BUDGET: (9, 0), RATE: (2, 0)}, 3.0)
    assert account.durable == {"": 6}
    other = joined.join("h", {}, 3.0)
    joined.used("h", other, {RATE: (1, 1)}, 3.0)
    assert account.leased == {"g": 0, "h": 0}
    last = joined.join("i", {}, 3.0)
    joined.used("i", last, {RATE: (1, 0)}, 3.0)
    assert account.leased == {"g": 0, "h": 0, "i": 0}


def test_of_a_dead_member_a_rates_slice_may_have_been_used(joined: Coordinator) -> None:
    for _ in range(4):
        ask(joined, RATE, most=1)
    joined.drop("g", None, 1.0)
    account = joined.accounts[RATE]
    assert (account.leased, account.durable, account.at) == ({}, {"": 4}, 1.0)
    joined.drop("g", None, 2.0)
    assert account.durable[""] == 3  # and comes back with time


def test_until_one_more_of_a_rate_may_be_there(joined: Coordinator) -> None:
    assert joined.wait_s("tenant:x|requests") == 1.0
    joined.account(SLOTS)
    assert joined.wait_s(SLOTS) == 1.0
    account = joined.account(RATE)
    assert account is not None
    account.limit = 1
    assert joined.wait_s(RATE) == 1.0
    account.limit = 6
    account.use(6)
    assert joined.wait_s(RATE) == 10.0
    account.use(2)
    assert joined.wait_s(RATE) == 30.0


def test_budgets_may_be_changed_while_they_are_spent(joined: Coordinator) -> None:
    ask(joined, BUDGET, SLOTS, most=100)
    joined.set_limits({"tenant:t": 50, SLOTS: 4})
    assert (joined.accounts[BUDGET].limit, joined.accounts[SLOTS].limit) == (50, 4)
    assert ask(joined, BUDGET) == Lacking((BUDGET,))
    assert joined.account(KEY) is None
    joined.set_limits({})
    assert (joined.accounts[BUDGET].limit, joined.accounts[SLOTS].limit) == (50, 4)


def test_what_is_given_back_is_free_again_and_only_by_its_member(joined: Coordinator) -> None:
    ask(joined, BUDGET, KEY, most=100)
    joined.give_back("g", 1, {BUDGET: 60, KEY: 0, "tenant:x|2026-11": 5})
    assert joined.accounts[BUDGET].leased == {"g": 40}
    assert joined.accounts[KEY].leased == {"g": 100}
    joined.give_back("g", 2, {BUDGET: 1})
    joined.give_back("h", 1, {BUDGET: 1})
    assert joined.accounts[BUDGET].leased == {"g": 40}
    joined.give_back("g", 1, {"tenant:x|2026-11": 5, BUDGET: 40})
    assert joined.accounts[BUDGET].leased == {"g": 0}
    with pytest.raises(AssertionError):
        joined.give_back("g", 1, {BUDGET: 1})
    other = joined.join("h", {}, 0.0)
    with pytest.raises(AssertionError):
        joined.give_back("h", other, {BUDGET: 1})  # it never had any
    joined.give_back("g", 1, {KEY: 1})
    assert joined.accounts[KEY].leased == {"g": 99}


def test_who_holds_a_slice_and_what_it_may_have_spent_at_most(joined: Coordinator) -> None:
    joined.known("g", {BUDGET: 7, "tenant:x|2026-11": 1})
    joined.known("gone", {KEY: 3})
    ask(joined, BUDGET, SLOTS, most=100)
    assert joined.most("g") == {BUDGET: 107}
    assert joined.most("gone") == {KEY: 3}
    assert joined.most("h") == {}
    assert joined.holders(BUDGET) == ("g",)
    assert joined.holders(KEY) == ()
    assert joined.holders("tenant:x|2026-11") == ()
    joined.give_back("g", 1, {BUDGET: 100})
    assert joined.holders(BUDGET) == ()
    joined.accounts[BUDGET].leased["h"] = 1
    assert joined.holders(BUDGET) == ("h",)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("ask", "ask", "ask", "back", "drop", "lost", "join")), st.integers(0, 2), st.integers(1, 300)
    ),
    max_size=40,
)


@given(STEPS)
def test_no_budget_is_ever_granted_beyond_its_limit(steps: list[tuple[str, int, int]]) -> None:
    one = coordinator()
    fences = {str(i): one.join(str(i), {}, 0.0) for i in range(3)}
    granted = 0
    for word, i, amount in steps:
        name = str(i)
        if word == "ask":
            got = one.ask(name, fences[name], (BUDGET, KEY), amount, 2 * amount, 0.0, extra=amount)
            granted += isinstance(got, Granted)
        elif word == "back" and one.accounts:
            one.give_back(name, fences[name], {BUDGET: min(amount, one.accounts[BUDGET].leased.get(name, 0))})
        elif word in ("drop", "lost"):
            one.drop(name, {BUDGET: one.most(name).get(BUDGET, 0) // 2} if word == "drop" else None, 0.0)
        elif word == "join":
            fences[name] = one.join(name, {}, 0.0)
        for account in one.accounts.values():
            assert account.free >= 0
            assert all(held >= 0 for held in account.leased.values())
    event("granted" if granted else "nothing granted")


def test_what_a_disk_no_longer_names_was_not_spent() -> None:
    one = coordinator()
    one.known("g", {BUDGET: 20, KEY: 5})
    one.known("h", {BUDGET: 7})
    one.known("g", {KEY: 5})
    assert one.accounts[BUDGET].durable == {"h": 7}
    assert one.accounts[KEY].durable == {"g": 5}
