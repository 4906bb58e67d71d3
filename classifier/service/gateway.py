"""The gateway service: from a policy to packets that leave by the right uplink, and back.

One asyncio loop waits for events, requests, signals and timers; queue threads answer packets, and
one more thread does what blocks: looking at the host and changing it.

Start order matters. The queue is bound before any rule sends packets to it, and routes stand
before marks lead to them; on the way down the rules go first, what waits is answered, and only
then the queue is closed, because closing it drops what waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from classifier.engine.classifier import Classifier
from classifier.errors import ClassifierError, HostError, QueueError, ServiceError, UsageError
from classifier.host.iptables.unclassified import unclassified
from classifier.host.state import PROTOCOL
from classifier.policy import Family, Policy, Uplink
from classifier.service import loop_errors, status
from classifier.service.announcements import Announcements
from classifier.service.connections import Connections
from classifier.service.control.routes import Request, Route
from classifier.service.events import HostEvents
from classifier.service.explain.live import LiveExplanations
from classifier.service.folded_job import FoldedJob
from classifier.service.link_change import LinkChange
from classifier.service.link_news import LinkNews
from classifier.service.loads import LoadSampler
from classifier.service.lock import NamespaceLock, RuntimeLock
from classifier.service.methods import Methods
from classifier.service.notify import feed_watchdog, notify, reloading, watchdog_seconds
from classifier.service.pace import Pace
from classifier.service.queues import Queues, with_safe_count
from classifier.service.reconcile import Look, Reconciler
from classifier.service.release import Release
from classifier.service.reload import read_policy
from classifier.service.run_settings import RunSettings
from classifier.service.signals import Signals
from classifier.service.sticky import StickyEntries
from classifier.service.uplinks import Uplinks, link_bytes
from classifier.state.asked import Asked, store_asked, stored_asked
from classifier.state.health import stored_bad
from classifier.state.ids import store_ids
from classifier.state.seed import stored_seed
from classifier.uplinks.placing import Usable, place

if TYPE_CHECKING:
    from classifier.service.control.server import ControlServer

_T = TypeVar("_T")

log = logging.getLogger(__name__)

PACE = Pace(period=5.0)
"""The host is also looked at without any event, since some changes cause none."""
_NONE: frozenset[Family] = frozenset()
_NO_UPLINKS: Usable = {}
_LINKS_CHANGED = frozenset(("link", "address", "everything", "start"))
"""Reasons to look after which links or addresses may be others."""
_RULES_GONE = "nothing is classified: the rules are gone and could not be put back yet"


class Service:
    """One gateway, in the network namespace of the calling thread."""

    def __init__(self, policy: Policy, settings: RunSettings) -> None:
        self._policy = with_safe_count(policy)
        self._settings = settings
        self._started = time.monotonic()
        self._reconciler = Reconciler()
        self._reconciling: FoldedJob[None] | None = None
        self._usable: Usable = {}
        self._uplinks = Uplinks(self._changed)
        self._links = LinkNews()
        self._told: set[str] = set()
        """Reasons to look again that have come since a look began."""
        self._warnings: tuple[str, ...] = ()
        self._release = Release(self._begin_reconciling)
        self._stopping = False
        self._reloads = 0
        self._changing = asyncio.Lock()
        """Held while the host or the policy is looked at and changed."""
        self._storing = asyncio.Lock()
        """Held while what was asked by hand is read, changed and written."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, signals: Signals) -> None:
        """Serve until a stop is requested, then leave the host as it was found.

        Raises what kept it from starting, with the host as before; QueueError when a queue broke:
        then the host state stays, as after a crash, and flows go on.
        """
        stopping = asyncio.Event()
        loop_errors.install(asyncio.get_running_loop())
        async with AsyncExitStack() as undo:
            undo.enter_context(signals.delivered(stop=stopping.set, reload=self._reload_on_signal))
            async with self._changing:
                await self._start(undo, stopping)
            undo.push_async_callback(self._end_reconciling)
            self._begin_reconciling()  # also for what happened since the first look
            notify("READY=1")
            log.info("ready: %s", self._described())
            await stopping.wait()
            if self._queues.failures:
                log.error("exiting, host state kept: for the next start, or for down")
                raise QueueError(str(self._queues.failures[0])) from self._queues.failures[0]
            notify("STOPPING=1")
            self._stopping = True
            await self._end_reconciling()
            async with self._changing:  # a reload that has begun comes to its end first
                try:
                    await asyncio.to_thread(self._sticky.save)
                except HostError as error:  # a full disk, say; the host is cleaned up all the same
                    log.warning("%s", error)
                if not self._settings.keep:
                    await self._in_host_thread(lambda: self._reconciler.remove(self._queues.stop))
        kept = self._settings.keep
        log.info("stopped: %s", "rules and routes stay" if kept else "the host is as it was found")

    async def _start(self, undo: AsyncExitStack, stopping: asyncio.Event) -> None:
        """Take the host over; on failure `undo` leaves everything as before."""
        undo.callback(RuntimeLock(self._settings.runtime_dir).release)
        lock = NamespaceLock()
        undo.callback(lock.release)
        for warning in lock.warnings:
            log.warning("%s", warning)
        loop = asyncio.get_running_loop()
        # A sixth of a second, much of it without the interpreter's lock: the host is looked at
        # meanwhile.
        importing = loop.run_in_executor(None, _control_server)
        lock.turn_away_on(loop)
        policy = self._policy = store_ids(self._settings.state_dir, self._policy)
        seed = self._seed()
        self._classifier = Classifier(policy, seed)
        self._methods = Methods(self._classifier.engine)
        self._connections = Connections(self._classifier.engine)
        self._host_thread = undo.enter_context(ThreadPoolExecutor(1, "host"))
        first = await self._look(policy)
        first.check_alone()
        first.check()
        self._queues = Queues(policy, self._classifier)
        undo.callback(self._queues.close)
        events = self._events = HostEvents(
            self._changed, own_protocol=PROTOCOL, link_changed=self._link_changed
        )
        undo.callback(events.close)
        self._remember(self._settings.state_dir)
        self._take(first)
        self._give(first)
        self._sticky = StickyEntries(
            self._classifier.engine, self._settings.state_dir, self._settings.runtime_dir
        )
        self._sticky.load()

        def stop() -> None:
            loop.call_soon_threadsafe(stopping.set)

        self._queues.start(on_failure=stop)
        undo.callback(self._queues.stop)
        if seconds := watchdog_seconds():
            undo.callback(loop.create_task(feed_watchdog(self._queues.hung, seconds)).cancel)
        routes = [
            Route("GET", "/status", self._status),
            Route("POST", "/uplinks/{name}", self._steer),
            Route("GET", "/sticky", self._sticky.show),
            Route("POST", "/sticky/forget", self._sticky.forget),
            Route("POST", "/reload", self._reload),
            Route("POST", "/release", self._release_host),
            Route("POST", "/explain", LiveExplanations(self._classifier.engine, seed).answer),
        ]
        group = policy.gateway.control_group
        server = await importing
        control = self._control = server(self._settings.runtime_dir, routes, group)
        await control.start()
        undo.push_async_callback(control.close)
        for warning in self._queues.warnings():
            log.warning("%s", warning)
        # Last, because all before it is undone by closing, and this undoes itself if it fails.
        await self._in_host_thread(lambda: self._reconciler.apply(first))
        undo.callback(self._uplinks.close)
        undo.push_async_callback(self._announcements.hooks.close)
        self._uplinks.probe(policy)
        saving = loop.create_task(self._sticky.keep_saved())
        undo.callback(saving.cancel)
        loads = LoadSampler(self._classifier.engine, self._uplinks.latency)
        undo.callback(loop.create_task(loads.keep_sampling(), name="loads").cancel)

    def _remember(self, state_dir: Path) -> None:
        """What was asked of the uplinks by hand, and what their probes had found."""
        self._uplinks.asked = stored_asked(state_dir)
        bad = stored_bad(state_dir)
        self._uplinks.remembered = {
            u.name: bad[u.name] for u in self._policy.uplinks if u.health and u.name in bad
        }
        self._announcements = Announcements(state_dir, bad)

    async def _announce(self, look: Look) -> None:
        await self._announcements.tell(look, self._uplinks.shown, self._uplinks.bad)

    def _begin_reconciling(self) -> None:
        self._reconciling = FoldedJob("host", self._reconcile, PACE)
        self._reconciling.request("start")

    async def _end_reconciling(self) -> None:
        self._release.close()
        if self._reconciling is not None:
            await self._reconciling.close()

    def _seed(self) -> int:
        if self._settings.seed is not None:
            return self._settings.seed
        return stored_seed(self._settings.state_dir)

    async def _in_host_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._host_thread, work)

    def _changed(self, kind: str) -> None:
        self._told.add(kind)
        if self._reconciling is not None:
            self._reconciling.request(kind)

    def _link_changed(self, change: LinkChange) -> None:
        """New flows avoid a link that is lost at once; all else waits for a look at the host."""
        if any(map(self._classifier.engine.interface_number, self._links.told(change))):
            self._queues.set_interfaces(self._links.interfaces)
        if any(self._usable.get(uplink.name) for uplink in self._lost_uplinks(self._policy)):
            self._use(self._policy, self._usable)

    def _lost_uplinks(self, policy: Policy) -> list[Uplink]:
        lost = self._links.lost
        return [uplink for uplink in policy.uplinks if uplink.interface in lost] if lost else []

    async def _look(self, policy: Policy, whole: bool = False) -> Look:
        self._told.clear()
        self._links.look_begins()
        look = await self._in_host_thread(lambda: self._reconciler.look(policy, whole))
        self._links.seen(look.interfaces)
        return look

    async def _reconcile(self, reasons: frozenset[str]) -> None:
        """Make engine and host match what is wanted now."""
        self._queues.tell_trouble(time.monotonic())
        self._methods.look_after(time.monotonic())
        async with self._changing:
            look = await self._look(self._policy)
            self._events.read()  # of what the look may have seen already
            # The policy first, so that no new flow is placed on an uplink whose route goes.
            self._take(look)
            links = bool((reasons | self._told) & _LINKS_CHANGED)
            failed: HostError | None = None
            try:
                await self._in_host_thread(lambda: self._reconciler.apply(look, links))
            except HostError as error:
                # It keeps no uplink from coming back, and nobody from being told of one that went.
                failed = error
            self._give(look, look.unrouted if failed else {})
            states = self._uplinks.by_family
            await self._in_host_thread(lambda: self._connections.follow(self._policy, states))
            await self._announce(look)
            if failed is not None:
                raise failed

    async def _reload(self, request: Request) -> dict[str, Any]:
        """Take the file as it is now; where it has a mistake, the old policy stays in force."""
        file, state_dir = self._settings.file, self._settings.state_dir
        async with self._changing:
            if self._stopping:
                raise ServiceError("the service is stopping")
            with reloading():
                self._release.check()
                policy = await asyncio.to_thread(read_policy, file, state_dir, self._policy)
                look = await self._look(policy, whole=True)
                look.check()
                # Before anything changes: an id that no uplink comes to use does no harm.
                await asyncio.to_thread(store_ids, state_dir, policy)
                group = self._policy.gateway.control_group
                self._control.allow(policy.gateway.control_group)
                try:
                    await self._change_to(look)
                except BaseException:
                    self._control.allow(group)
                    raise
        self._reloads += 1
        log.info("reloaded %s: %s", file, self._described())
        return {"reloads": self._reloads}

    async def _change_to(self, look: Look) -> None:
        """Another policy: in the engine first, where uplinks that are new wait for their routes."""
        old, before = self._policy, self._usable
        usable = self._uplinks.usable(look)
        kept = {name: now & before.get(name, _NONE) for name, now in usable.items()}
        try:
            self._use(look.policy, kept)
            await self._in_host_thread(lambda: self._reconciler.apply(look))
        except BaseException:
            self._use(old, before)
            self._uplinks.probe(old)
            raise
        self._take(look)
        self._give(look)
        self._uplinks.probe(look.policy)
        await self._announce(look)

    def _reload_on_signal(self) -> None:
        async def reload() -> None:
            try:
                await self._reload(Request())
            except (ClassifierError, OSError) as error:
                log.error("not reloaded, the old policy stays in force: %s", error)

        task = asyncio.get_running_loop().create_task(reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take(self, look: Look) -> None:
        """No flow is placed any more on an uplink that has no route for its family."""
        self._queues.set_interfaces(self._links.interfaces)
        for warning in look.plan.warnings:
            if warning not in self._warnings:
                log.warning("%s", warning)
        self._warnings = look.plan.warnings
        usable = self._uplinks.usable(look)
        kept = {name: now & self._usable.get(name, now) for name, now in usable.items()}
        self._use(self._policy, kept)

    def _give(self, look: Look, unrouted: Usable = _NO_UPLINKS) -> None:
        """What can take flows takes them, but for what is `unrouted`."""
        usable = self._uplinks.usable(look)
        able = {name: now - unrouted.get(name, _NONE) for name, now in usable.items()}
        self._use(self._policy, able)

    def _use(self, policy: Policy, usable: Usable) -> None:
        """From here on flows are decided by `policy`, on the uplinks that are usable and not lost
        by now."""
        usable = {**usable, **{uplink.name: _NONE for uplink in self._lost_uplinks(policy)}}
        place(self._classifier.engine, policy, usable)
        self._policy, self._usable = policy, usable

    def _described(self) -> str:
        uplinks = (
            f"{uplink.name} ({uplink.interface}) {self._uplinks.states[uplink.name]}"
            for uplink in self._policy.uplinks
        )
        numbers = self._queues.numbers
        last = f"-{numbers[-1]}" if len(numbers) > 1 else ""
        return f"{', '.join(uplinks)}; queue {numbers[0]}{last}"

    async def _steer(self, request: Request) -> dict[str, Any]:
        """Force or drain an uplink, or leave it to its own state."""
        name, wanted = request.names["name"], request.body.get("state")
        if name not in {uplink.name for uplink in self._policy.uplinks}:
            raise UsageError(f"uplink {name}: the policy has no such uplink")
        if wanted not in get_args(Asked):
            raise UsageError(f"state = {wanted!r}: must be one of {', '.join(get_args(Asked))}")
        self._release.check()
        state = cast(Asked, wanted)
        if not request.body.get("until_restart"):
            async with self._storing:
                await asyncio.to_thread(self._store_asked, name, state)
        self._uplinks.asked[name] = state
        if self._reconciling is not None:
            await self._reconciling.request_and_wait("by hand")
        return self._uplinks.figures(self._policy.uplink(name))

    def _store_asked(self, name: str, state: Asked) -> None:
        asked = stored_asked(self._settings.state_dir)
        store_asked(self._settings.state_dir, {**asked, name: state})

    async def _release_host(self, request: Request) -> dict[str, Any]:
        """Let go of the host, for `down`: what it removes must not be put right."""
        if request.body.get("done") is True:
            self._release.confirm()
            return {}
        if self._stopping:
            raise ServiceError("the service is stopping")
        await self._end_reconciling()
        async with self._changing:
            self._release.begin()
        return {}

    async def _status(self, request: Request) -> dict[str, Any]:
        # Here, where nothing else can run: policy, states and counters of one side of a reload.
        hooks = self._announcements.hooks
        figures = status.Figures(
            policy=self._classifier.policy,
            lives={u.name: self._uplinks.figures(u) for u in self._policy.uplinks},
            usable=self._usable,
            counters=self._classifier.counters(),
            queue=status.QueueFigures(),
            uptime=time.monotonic() - self._started,
            healed=self._reconciler.healed,
            reloads=self._reloads,
            hooks=(hooks.runs, hooks.failures),
            warnings=(
                *self._warnings,
                *self._queues.warnings(),
                *self._reconciler.warnings,
                *self._methods.warnings(),
            ),
        )
        return await asyncio.to_thread(self._with_host, figures, self._release.warning)

    def _with_host(self, figures: status.Figures, released: str) -> dict[str, Any]:
        """What has to be read from the kernel or a program is added."""
        passed = unclassified()
        gone = released or (_RULES_GONE if passed is None else "")
        return status.render(
            replace(
                figures,
                queue=self._queues.figures(passed),
                bytes=link_bytes(),
                warnings=(*figures.warnings, *([gone] if gone else [])),
            )
        )


def _control_server() -> type[ControlServer]:
    from classifier.service.control.server import ControlServer

    return ControlServer
