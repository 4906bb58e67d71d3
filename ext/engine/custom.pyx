"""Methods of one's own in Python.

The engine's lock is not held while they are asked, so that other threads decide meanwhile, and the
interpreter is entered once for all flows of a batch. Whatever a method does wrong, its flows are
placed, by the balancer's weights.

Python code cannot be stopped from outside. What is limited is what is asked of a method that is slow:
nothing more in a batch that has taken `LONGEST`, nothing for a while after several such batches. A
`select` that never returns holds up the thread that asked it; other threads go on without it.
"""
import threading

from cpython.exc cimport PyErr_SetInterrupt
from libc.string cimport memset

from classifier.engine.cython_method cimport CythonMethod
from classifier.engine.deciding cimport seconds, write_figures
from classifier.engine.method_values cimport LiveUplink, flow_of

from classifier.errors import UsageError

LONGEST = 0.05
"""Seconds for the flows of one batch, of which there are at most 256. By the clock on the wall, since a
method may wait for something: long enough that a busy machine does not make a good method late."""
PATIENCE = 0.1
"""Seconds to wait for another thread's call to come back."""
MOST_LATE = 3
"""Batches in a row that take longer; then the method is not asked for some time."""
SUSPENDED = 10000
"""Milliseconds of the engine's time."""


cdef class CustomMethod:
    """The method of one balancer. UsageError: the class refuses to be made or prepared."""

    def __init__(self, balancer, seed):
        self.name = balancer.name
        self.maker = (balancer.custom, dict(balancer.options))
        self.calls = threading.Lock()
        if balancer.custom is None:
            raise UsageError(f"balancer {self.name}: method {balancer.method!r} comes without its class")
        try:
            self.made = balancer.custom(**balancer.options)
            if hasattr(self.made, "prepare"):
                self.made.prepare(tuple([share.uplink for share in balancer.members]), seed)
            self.select = self.made.select
        except (Exception, SystemExit) as error:
            raise UsageError(
                f"balancer {self.name}: method {balancer.method!r} cannot be made: {described(error)}"
            ) from error

    def is_for(self, balancer):
        """Whether it can go on as the method of this balancer, of a later policy."""
        return self.name == balancer.name and self.maker == (balancer.custom, dict(balancer.options))

    cdef int fail(self, object why, uint64_t flows) except -1:
        # None: as before.
        self.errors += flows
        if why is not None:
            self.last_error = why
        return 0


cdef class MethodInUse:
    def __init__(self, CustomMethod method):
        self.method = method
        self.ipv4 = self.ipv6 = ()

    def set_uplinks(self, family, members):
        """Says which can take flows of a family (0 for IPv4, 1 for IPv6): members with their ids."""
        cdef LiveUplink uplink
        uplinks = []
        for member, id in members:
            uplink = LiveUplink(member.uplink, weight=member.weight, tier=member.tier)
            uplink.figures.id = id
            uplinks.append(uplink)
        if family:
            self.ipv6 = tuple(uplinks)
        else:
            self.ipv4 = tuple(uplinks)

    cdef int answer(
        self, State* state, Question* questions, size_t count, object names, object clock
    ) except -1:
        cdef CustomMethod method = self.method
        if not method.calls.acquire(timeout=-1 if clock is None else PATIENCE):
            method.fail("another call has not come back yet", count)
            return 0
        try:
            method.busy_since = None if clock is None else clock()
            self.ask_all(state, questions, count, names, clock)
        finally:
            method.busy_since = None
            method.calls.release()
        return 0

    cdef int ask_all(
        self, State* state, Question* questions, size_t count, object names, object clock
    ) except -1:
        # What was answered before in this batch is placed later, but counts already.
        cdef uint64_t answered[256]
        cdef CustomMethod method = self.method
        cdef size_t i
        cdef double taken
        cdef uint8_t id
        memset(answered, 0, sizeof(answered))
        if state.now < method.suspended_until:
            method.fail(None, count)
            return 0
        for i in range(count):
            id = self.ask(state, questions[i].lookup, answered, names)
            questions[i].lookup.answer = id
            answered[id] += 1
            if clock is None:
                continue
            taken = clock() - method.busy_since
            if taken > LONGEST:
                method.late += 1
                if method.late >= MOST_LATE:
                    method.late = 0
                    method.suspended_until = state.now + SUSPENDED
                method.fail(
                    f"select took {taken * 1000:.0f} ms for {i + 1} flows; it has "
                    f"{LONGEST * 1000:.0f} ms for those of a batch", max(count - i - 1, <size_t>1)
                )
                return 0
        method.late = 0
        return 0

    cdef uint8_t ask(
        self, State* state, Lookup* lookup, const uint64_t* answered, object names
    ) except? 0:
        """The id of the uplink that the method returned; 0 if it failed."""
        cdef tuple uplinks = self.ipv6 if lookup.packet.family == 6 else self.ipv4
        cdef LiveUplink uplink
        for uplink in uplinks:
            write_figures(
                state, uplink.figures.id, answered[uplink.figures.id], &uplink.figures
            )
        flow = flow_of(&lookup.packet, names.get(lookup.interface), lookup.uid)
        try:
            chosen = self.method.select(flow, uplinks, seconds(state))
        except KeyboardInterrupt:
            # This thread's caller hears of it as soon as it is back in Python.
            PyErr_SetInterrupt()
            self.method.fail("interrupted", 1)
            return 0
        except BaseException as error:
            self.method.fail(described(error), 1)
            return 0
        for uplink in uplinks:
            if uplink is chosen:
                return uplink.figures.id
        self.method.fail(
            f"select returned {shown(chosen)}, which is none of the uplinks it was given", 1
        )
        return 0


def described(error):
    """An exception in one line, with the line of code it comes from."""
    try:
        text = f"{type(error).__name__}: {error}".rstrip(": ")
    except Exception:  # of its own __str__
        text = type(error).__name__
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is not None:
        text += f" ({place.tb_frame.f_code.co_filename}, line {place.tb_lineno})"
    return " ".join(text.split())


def shown(value):
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
