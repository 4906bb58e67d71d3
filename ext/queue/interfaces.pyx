"""Which number the engine knows an interface by."""

from classifier.errors import QueueError


cdef int fill_interfaces(InterfaceTable* table, object numbers) except -1:
    cdef size_t i
    pairs = sorted(numbers.items())
    if len(pairs) > MOST_INTERFACES:
        raise QueueError(f"{len(pairs)} interfaces are more than {MOST_INTERFACES}")
    for i, (index, number) in enumerate(pairs):
        table.indexes[i] = index
        table.numbers[i] = number
    table.count = len(pairs)
    return 0


cdef uint16_t interface_number(const InterfaceTable* table, uint32_t index) noexcept nogil:
    cdef size_t low = 0, high = table.count, middle
    while low < high:
        middle = (low + high) >> 1
        if table.indexes[middle] < index:
            low = middle + 1
        else:
            high = middle
    return table.numbers[low] if low < table.count and table.indexes[low] == index else 0
