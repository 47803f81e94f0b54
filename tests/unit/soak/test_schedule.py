"""Which faults come when is the seed's doing alone."""

from itertools import pairwise

from tests.soak.schedule import KINDS, every_fault, schedule


def test_the_same_seed_gives_the_same_schedule_and_another_another() -> None:
    faults = every_fault()
    assert schedule(7, 600, faults) == schedule(7, 600, faults)
    assert schedule(7, 600, faults) != schedule(8, 600, faults)


def test_a_long_run_has_every_kind_first_alone_and_then_together() -> None:
    plan = schedule(7, 600, every_fault())
    assert {fault.kind for fault in plan} == KINDS.keys()
    ends = [fault.at_s + fault.lasts_s for fault in plan]
    overlaps = [end > later.at_s for end, (_, later) in zip(ends, pairwise(plan), strict=False)]
    alone = overlaps.index(True)
    assert {fault.kind for fault in plan[:alone]} == KINDS.keys()


def test_no_two_faults_at_one_target_at_a_time_and_none_at_the_end() -> None:
    for seed in range(20):
        plan = schedule(seed, 60, every_fault())
        for target in {fault.target for fault in plan}:
            its = [fault for fault in plan if fault.target == target]
            assert all(one.at_s + one.lasts_s <= later.at_s for one, later in pairwise(its))
        assert max(fault.at_s + fault.lasts_s for fault in plan) <= 57


def test_only_what_was_asked_for_happens() -> None:
    assert {str(fault) for fault in schedule(1, 60, [("kill", "web"), ("freeze", "redis")])} == {
        "kill web",
        "freeze redis",
    }
