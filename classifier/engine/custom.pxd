# Methods of one's own in Python: how they are asked, and what is done about those that fail.
cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t

from classifier.engine.deciding cimport Lookup, State
from classifier.engine.questions cimport Question

@cython.final
cdef class CustomMethod:
    cdef readonly str name          # of the balancer
    cdef readonly object made       # the user's object
    cdef readonly uint64_t errors
    cdef readonly object last_error # text of the last error, None before the first
    cdef readonly object busy_since # the clock's time at which the call that goes on began, or None
    cdef object maker               # class and options, by which it is the same after a reload
    cdef object select
    cdef object calls               # held during a call: calls never overlap
    cdef int late                   # batches in a row that took too long
    cdef uint64_t suspended_until   # milliseconds

    cdef int fail(self, object why, uint64_t flows) except -1

# A method as the balancer of one policy uses it. The method itself may go on in the next policy.
@cython.final
cdef class MethodInUse:
    cdef readonly CustomMethod method
    cdef tuple ipv4                 # `LiveUplink` that can take flows
    cdef tuple ipv6

    # Answers questions that are all for this method. `names` are those of interfaces by number; `clock`
    # gives seconds, or is None: then time is not limited.
    cdef int answer(
        self, State* state, Question* questions, size_t count, object names, object clock
    ) except -1
    cdef int ask_all(
        self, State* state, Question* questions, size_t count, object names, object clock
    ) except -1
    cdef uint8_t ask(
        self, State* state, Lookup* lookup, const uint64_t* answered, object names
    ) except? 0
