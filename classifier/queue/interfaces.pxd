# The engine's numbers of interfaces, by the kernel's indexes.
from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t

cdef enum:
    MOST_INTERFACES = 1024

cdef struct InterfaceTable:
    size_t count
    uint32_t indexes[MOST_INTERFACES]     # ascending
    uint16_t numbers[MOST_INTERFACES]

# Fills an empty table from a mapping of index to number. QueueError when there are too many.
cdef int fill_interfaces(InterfaceTable* table, object numbers) except -1

# 0 for an interface that is not there.
cdef uint16_t interface_number(const InterfaceTable* table, uint32_t index) noexcept nogil
