"""What link events told while a look was under way is not lost to what the look shows."""

from __future__ import annotations

import pytest

from classifier.service.link_change import LinkChange
from classifier.service.link_news import LinkNews


def event(index: int, name: str, *, carrier: bool = True, gone: bool = False) -> LinkChange:
    return LinkChange(index, name, up=True, carrier=carrier and not gone, gone=gone)


@pytest.fixture
def news() -> LinkNews:
    made = LinkNews()
    made.look_begins()
    made.seen({1: "lo", 2: "eth0", 3: "lan0"})
    return made


def test_a_carrier_lost_during_a_look_stays_lost_until_the_next_one(news: LinkNews) -> None:
    news.look_begins()
    assert news.told(event(2, "eth0", carrier=False)) == frozenset()
    news.seen({1: "lo", 2: "eth0", 3: "lan0"})
    assert news.lost == {"eth0"}
    news.look_begins()
    assert news.lost == frozenset()


def test_a_carrier_that_is_back_is_not_lost(news: LinkNews) -> None:
    news.told(event(2, "eth0", carrier=False))
    news.told(event(2, "eth0"))
    assert news.lost == frozenset()


def test_an_interface_made_anew_during_a_look_is_known_by_its_new_index(news: LinkNews) -> None:
    news.look_begins()
    assert news.told(event(3, "lan0", gone=True)) == {"lan0"}
    assert news.told(event(9, "lan0", carrier=False)) == {"lan0"}
    news.seen({1: "lo", 2: "eth0", 3: "lan0"})  # read before
    assert news.interfaces == {1: "lo", 2: "eth0", 9: "lan0"}
    news.look_begins()
    news.seen({1: "lo", 2: "eth0", 9: "lan0"})
    assert news.interfaces == {1: "lo", 2: "eth0", 9: "lan0"}


def test_an_interface_with_another_name_is_lost_under_the_old_one(news: LinkNews) -> None:
    assert news.told(event(2, "wan")) == {"eth0", "wan"}
    assert news.lost == {"eth0"}
    assert news.interfaces == {1: "lo", 2: "wan", 3: "lan0"}
