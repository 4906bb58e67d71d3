"""What several queues have counted, as one value."""

from __future__ import annotations

from dataclasses import fields

from classifier.queue.packet_queue import QueueCounters


def test_the_counters_of_all_queues_are_summed_each_by_itself() -> None:
    names = [field.name for field in fields(QueueCounters)]
    several = [
        QueueCounters(**{name: 10**n * factor for n, name in enumerate(names)})
        for factor in (1, 2, 5)
    ]
    total = QueueCounters.total(several)
    summed = {name: 10**n * 8 for n, name in enumerate(names)}
    assert total == QueueCounters(**{**summed, "last_errno": several[-1].last_errno})


def test_an_error_is_told_also_when_it_was_not_that_of_the_last_queue() -> None:
    one = QueueCounters(last_errno=2)
    assert QueueCounters.total([one, QueueCounters()]).last_errno == 2
    assert QueueCounters.total([]) == QueueCounters()
