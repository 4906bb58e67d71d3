# Which flows methods of users are asked about, and the answers of those in Cython.
from libc.stddef cimport size_t
from libc.stdint cimport uint16_t

from classifier.engine.deciding cimport Lookup, State

cdef enum:
    # Packets whose flows are asked about together: as many as a queue reads at once.
    ASKED_TOGETHER = 256
    INTERFACE_BYTES = 16       # IFNAMSIZ of linux/if.h

cdef struct Question:
    Lookup* lookup             # where the answer goes
    uint16_t balancer          # number
    char in_interface[INTERFACE_BYTES]    # UTF-8; empty: none that the policy names

# The flows among some packets, no more than `ASKED_TOGETHER`, that a method is to be asked about, each
# once; how many there are. With the lock held.
cdef size_t find_questions(
    State* state, Lookup* lookups, size_t count, Question* questions
) noexcept nogil

# Answers the questions for methods in Cython; how many are left, for those in Python. The lock is held
# before and after, and by others while the methods are asked.
cdef size_t answer_in_cython(State* state, Question* questions, size_t count) noexcept nogil
