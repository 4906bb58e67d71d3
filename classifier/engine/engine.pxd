# The engine: parse -> in-flight table -> rules -> sticky table -> method -> mark.
cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.compiled cimport Compiled
from classifier.engine.deciding cimport (
    ACCEPT, DROP_PACKET, UNTOUCHED, Decision, Item, Lookup, State,
)
from classifier.engine.questions cimport Question
from classifier.engine.wire cimport Packet

@cython.final
cdef class Engine:
    cdef readonly object policy
    cdef public object clock        # seconds, for the time limit of methods in Python; None: no limit
    cdef State state
    cdef object naming              # held while decisions are put in the words of their policy
    cdef object replacing           # held while another policy is made ready
    cdef dict interfaces            # name to number, of those that the policy names
    cdef dict numbered_interfaces   # of all that have a number
    cdef dict interface_names       # number to name
    cdef tuple names                # uplink names by id
    cdef tuple in_use               # by balancer: `MethodInUse`; None for methods built in
    cdef dict in_use_by_policy      # generation to `in_use`
    cdef list retired               # methods of policies before that a thread may be asking still

    # Decide `count` packets at `now` (milliseconds, any epoch, never going back). Several queue
    # threads may share one engine: decisions are made under its lock. Allocates nothing, unless
    # methods in Python are asked.
    cdef void decide(self, Item* items, size_t count, uint64_t now) noexcept nogil

    # The same for one packet that is parsed already and not malformed, for those who follow flows
    # themselves and ask about the first packet of each. A flow that is new to them may still be in
    # flight here, when the same ports are used again within five seconds; so it is on the live
    # queue too.
    cdef void decide_parsed(
        self, const Packet* packet, uint16_t interface, int64_t uid, uint64_t now, Decision* decision
    ) noexcept nogil

    # Between the steps of a decision, with the lock held, which others may have meanwhile: asks the
    # methods of users.
    cdef void ask_methods(self, Lookup* lookups, size_t count) noexcept nogil
    cdef void ask(self, Question* questions, size_t count, uint64_t generation) noexcept nogil
    cdef object answer(self, Question* questions, size_t count, tuple in_use)
    cdef tuple methods_in_use(self, Compiled* compiled, object policy, tuple before)
    cdef object decision_value(self, const Decision* decision)
