"""What link events have told since the host was looked at, which a look may not show yet."""

from __future__ import annotations

from collections.abc import Mapping

from classifier.service.link_change import LinkChange


class LinkNews:
    """Interfaces as the last look and the events since then tell them.

    A look takes its time, and what it shows may be older than an event that came meanwhile. So what
    is told by events holds until a look that was begun later.
    """

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._since: dict[int, str | None] = {}
        self._lost: set[str] = set()

    @property
    def interfaces(self) -> Mapping[int, str]:
        """Interface index to name."""
        return self._names

    @property
    def lost(self) -> frozenset[str]:
        """Interfaces that have lost their carrier, their name or themselves."""
        return frozenset(self._lost)

    def look_begins(self) -> None:
        """What is read from now on is newer than every event so far."""
        self._since.clear()
        self._lost.clear()

    def seen(self, interfaces: Mapping[int, str]) -> None:
        """What the look that was begun last has shown: interface index to name."""
        names = dict(interfaces)
        for index, name in self._since.items():
            if name is None:
                names.pop(index, None)
            else:
                names[index] = name
        self._names = names

    def told(self, change: LinkChange) -> frozenset[str]:
        """Take in an event; the names whose interface is another one now, or has none."""
        before, now = self._names.get(change.index), None if change.gone else change.name
        self._since[change.index] = now
        if change.carrier:
            self._lost.discard(change.name)
        else:
            self._lost.add(change.name)
        if before == now:
            return frozenset()
        if before is not None:
            del self._names[change.index]
            self._lost.add(before)
        if now is not None:
            self._names[change.index] = now
        return frozenset(name for name in (before, now) if name is not None)
