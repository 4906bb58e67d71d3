"""The native queue: an NFQUEUE read, decided and answered without Python.

Up to 256 packets are read by one system call and answered by one to three. Between them nothing is
allocated, copied or logged: the engine reads the packets where the kernel put them.
"""

import os

from classifier.errors import QueueError
from classifier.queue import binding
from classifier.queue.packet_queue import QueueCounters

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EBADF, EINTR, ENOBUFS, ENOENT, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from classifier.engine.engine cimport ACCEPT, DROP_PACKET, Decision, Engine, Item
from classifier.engine.mutex cimport (
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_t,
    pthread_mutex_unlock,
)
from classifier.queue.interfaces cimport InterfaceTable, fill_interfaces, interface_number
from classifier.queue.syscalls cimport (
    CLOCK_MONOTONIC,
    MSG_DONTWAIT,
    POLLIN,
    POLLNVAL,
    clock_gettime,
    close,
    iovec,
    mmsghdr,
    poll,
    pollfd,
    read,
    recvmmsg,
    send,
    timespec,
)
from classifier.queue.nfnetlink cimport (
    KERNEL_ERROR,
    OVERRUN,
    PACKET,
    VERDICT_BYTES,
    MessageKind,
    QueuedPacket,
    Verdict,
    read_message,
    write_verdict,
)

cdef extern from * nogil:
    """
    #define load_flag(flag) __atomic_load_n((flag), __ATOMIC_ACQUIRE)
    #define set_flag(flag) __atomic_store_n((flag), 1, __ATOMIC_RELEASE)
    #define load_offset(offset) __atomic_load_n((offset), __ATOMIC_RELAXED)
    #define store_offset(offset, value) __atomic_store_n((offset), (value), __ATOMIC_RELAXED)
    """
    int load_flag(int*)
    void set_flag(int*)
    int64_t load_offset(int64_t*)
    void store_offset(int64_t*, int64_t)

cdef enum:
    # Each round begins with caches that the kernel has used for its own; 256 packets spread that
    # better than 64 do, and the first of them waits less than 50 microseconds for the last.
    BATCH = 256
    # What fits, with its administration, into one page of the kernel: above that it takes longer.
    SENT_BYTES = 88 * VERDICT_BYTES
    # A message with 128 bytes of packet has about 320. Nine cache lines, an odd number, so that
    # the slots do not all begin in the same few sets of the cache.
    SLOT = 576
    SEND_TRIES = 1000       # one millisecond apart

cdef struct Buffers:
    uint8_t slots[BATCH][SLOT]
    mmsghdr messages[BATCH]
    iovec vectors[BATCH]
    QueuedPacket packets[BATCH]
    Item items[BATCH]
    uint8_t verdicts[SENT_BYTES]

cdef struct Counts:
    uint64_t packets
    uint64_t batches
    uint64_t malformed
    uint64_t late_verdicts
    uint64_t errors
    uint64_t overruns
    int last_errno
    uint64_t rounds


cdef inline bint same_verdict_next(const Verdict* one, const Verdict* other) noexcept nogil:
    return (
        other.id == one.id + 1
        and other.mark == one.mark
        and other.accept == one.accept
        and other.has_mark == one.has_mark
    )


cdef class NativeQueue:
    """Queue `number` of the calling thread's network namespace, bound here, read by `run`.

    Raises QueueError when the queue cannot be bound; see `classifier.queue.packet_queue.PacketQueue`
    for what the methods promise.
    """

    cdef readonly uint16_t number
    cdef object _binding
    cdef Engine _engine
    cdef Buffers* _buffers
    cdef InterfaceTable* _interfaces
    cdef pthread_mutex_t _interfaces_lock
    cdef Counts _counts
    cdef int64_t _clock_offset
    cdef uint32_t _mask
    cdef uint32_t _left             # packets still to be answered after `stop`
    cdef int _socket
    cdef int _wake                  # eventfd that ends a poll
    cdef int _stopping
    cdef bint _one_by_one           # a message without an id: what it was about may still wait
    cdef bint _started
    cdef bint _running

    def __cinit__(self):
        cdef int i
        self._socket = self._wake = -1
        pthread_mutex_init(&self._interfaces_lock, NULL)
        self._interfaces = <InterfaceTable*>calloc(1, sizeof(InterfaceTable))
        self._buffers = <Buffers*>calloc(1, sizeof(Buffers))
        if self._interfaces == NULL or self._buffers == NULL:
            raise MemoryError
        for i in range(BATCH):
            self._buffers.vectors[i].iov_base = self._buffers.slots[i]
            self._buffers.vectors[i].iov_len = SLOT
            self._buffers.messages[i].msg_hdr.msg_iov = &self._buffers.vectors[i]
            self._buffers.messages[i].msg_hdr.msg_iovlen = 1

    def __init__(self, Engine engine not None, uint16_t number, settings):
        self._engine = engine
        self.number = number
        self._mask = settings.mask
        self._left = settings.length
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._binding = binding.bind(number, settings)
        self._socket = self._binding.socket.fileno()

    def __dealloc__(self):
        # The socket closes itself with the binding.
        if self._wake >= 0:
            close(self._wake)
        pthread_mutex_destroy(&self._interfaces_lock)
        free(self._interfaces)
        free(self._buffers)

    @property
    def receive_buffer(self):
        return self._binding.receive_buffer

    @property
    def clock_offset(self):
        return load_offset(&self._clock_offset)

    @clock_offset.setter
    def clock_offset(self, int64_t milliseconds):
        store_offset(&self._clock_offset, milliseconds)

    def fileno(self):
        """The netlink socket; -1 when closed."""
        return self._socket

    def set_interfaces(self, interfaces):
        cdef InterfaceTable* table = <InterfaceTable*>calloc(1, sizeof(InterfaceTable))
        if table == NULL:
            raise MemoryError
        try:
            fill_interfaces(table, interfaces)
            # Held by the reader while it looks up one batch: it never sees half a table.
            pthread_mutex_lock(&self._interfaces_lock)
            self._interfaces[0] = table[0]
            pthread_mutex_unlock(&self._interfaces_lock)
        finally:
            free(table)

    def counters(self):
        return QueueCounters(**self._counts)

    def run(self):
        cdef int error
        if self._started or self._socket < 0:
            raise QueueError(f"queue {self.number} has been read already or is closed")
        self._started = self._running = True
        try:
            while True:
                with nogil:
                    error = self._serve()
                if error != EINTR:
                    break
                # Of this process's signals, Python handles those that came to its main thread.
                PyErr_CheckSignals()
        finally:
            self._running = False
        if error != 0:
            self._counts.last_errno = error
            raise QueueError(f"queue {self.number} cannot be read any more: {os.strerror(error)}")

    def wake(self):
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    def stop(self):
        if self._socket < 0 or load_flag(&self._stopping):
            return
        try:
            binding.take_no_more(self._binding.socket, self.number)
        except OSError as error:  # then it goes on being filled while what waits is answered
            self._counts.last_errno = error.errno or 0
        set_flag(&self._stopping)
        os.eventfd_write(self._wake, 1)

    def close(self):
        if self._running:
            raise QueueError(f"queue {self.number} is still being read: stop it first")
        self._socket = -1
        if self._binding is not None:
            self._binding.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    cdef int _serve(self) noexcept nogil:
        """Read and answer; 0 after a stop, EINTR after a signal, else the errno that ended it."""
        cdef int received, error
        while True:
            self._counts.rounds += 1
            received = recvmmsg(self._socket, self._buffers.messages, BATCH, MSG_DONTWAIT, NULL)
            if received > 0:
                error = self._answer(received)
                if error != 0:
                    return error
                if received == BATCH and not load_flag(&self._stopping):
                    continue
            else:
                error = errno
                if error == ENOBUFS:
                    self._counts.overruns += 1
                    self._counts.last_errno = error
                    continue
                if error != EAGAIN:
                    return error
            if load_flag(&self._stopping):
                # The kernel takes no more packets, so what can be read comes to an end; the
                # count is there in case it did not listen.
                if received <= 0 or self._left == 0:
                    return 0
                self._left -= min(self._left, <uint32_t>received)
                continue
            error = self._wait()
            if error != 0:
                return error

    cdef int _wait(self) noexcept nogil:
        cdef pollfd waiting[2]
        cdef uint64_t woken
        waiting[0].fd = self._socket
        waiting[1].fd = self._wake
        waiting[0].events = waiting[1].events = POLLIN
        waiting[0].revents = waiting[1].revents = 0
        if poll(waiting, 2, -1) < 0:
            return errno
        if waiting[1].revents & POLLIN:
            read(self._wake, &woken, sizeof(woken))
        return EBADF if (waiting[0].revents | waiting[1].revents) & POLLNVAL else 0

    cdef int _answer(self, int received) noexcept nogil:
        cdef size_t count = self._read(received)
        if count == 0:
            return 0
        self._engine.decide(self._buffers.items, count, self._now())
        self._counts.packets += count
        self._counts.batches += 1
        return self._send_verdicts(count)

    cdef size_t _read(self, int received) noexcept nogil:
        """Fill packets and items from the slots; how many there are."""
        cdef size_t count = 0
        cdef int i, error
        cdef MessageKind kind
        cdef QueuedPacket* packet
        cdef Item* item
        pthread_mutex_lock(&self._interfaces_lock)
        for i in range(received):
            packet = &self._buffers.packets[count]
            kind = read_message(
                self._buffers.slots[i], self._buffers.messages[i].msg_len, packet, &error
            )
            if kind != PACKET:
                self._count_other(kind, error)
                continue
            self._counts.malformed += packet.broken
            item = &self._buffers.items[count]
            item.data = packet.payload
            item.size = packet.size
            item.uid = packet.uid
            item.interface = interface_number(self._interfaces, packet.interface_index)
            count += 1
        pthread_mutex_unlock(&self._interfaces_lock)
        return count

    cdef void _count_other(self, MessageKind kind, int error) noexcept nogil:
        if kind == KERNEL_ERROR:
            if error == ENOENT:
                self._counts.late_verdicts += 1
            elif error != 0:
                self._counts.errors += 1
            if error != 0:
                self._counts.last_errno = error
        elif kind == OVERRUN:
            self._counts.overruns += 1
        else:
            self._counts.malformed += 1
            self._one_by_one = True

    cdef int _send_verdicts(self, size_t count) noexcept nogil:
        """Write and send the verdicts in the order of arrival, which is that of the ids."""
        # Kernels before 6.12.75 look waiting packets up by walking a list from the oldest on.
        cdef size_t i, at = 0, end = 0
        cdef Verdict verdict, before
        cdef int error
        for i in range(count):
            self._verdict_of(&self._buffers.packets[i], &self._buffers.items[i].decision, &verdict)
            # Packets of one answer that follow each other without a gap share a message, which
            # costs the kernel a quarter less per packet. It answers all that wait up to its id:
            # no packet but these, since the kernel hands over packets in the order of their ids
            # and all before these have been answered.
            if end and not self._one_by_one and same_verdict_next(&before, &verdict):
                write_verdict(self._buffers.verdicts + at, self.number, &verdict, True)
            else:
                if end + VERDICT_BYTES > SENT_BYTES:
                    error = self._send(end)
                    if error != 0:
                        return error
                    end = 0
                at = end
                end += write_verdict(self._buffers.verdicts + at, self.number, &verdict, False)
            before = verdict
        return self._send(end)

    cdef void _verdict_of(
        self, const QueuedPacket* packet, const Decision* decision, Verdict* verdict
    ) noexcept nogil:
        cdef uint32_t ours = decision.mark if decision.action == ACCEPT else 0
        verdict.id = packet.id
        verdict.accept = decision.action != DROP_PACKET
        # A message cut short may have lost the mark; what is unknown is not overwritten.
        verdict.has_mark = not packet.broken
        verdict.mark = (packet.mark & ~self._mask) | (ours & self._mask)

    cdef int _send(self, size_t size) noexcept nogil:
        cdef int tries = 0
        while send(self._socket, self._buffers.verdicts, size, 0) < 0:
            if errno == EINTR:
                continue
            # No memory for the message at this moment: the packets wait, so it is tried again.
            if (errno != EAGAIN and errno != ENOBUFS) or tries == SEND_TRIES:
                return errno
            self._counts.last_errno = errno
            tries += 1
            poll(NULL, 0, 1)
        return 0

    cdef uint64_t _now(self) noexcept nogil:
        cdef timespec time
        cdef int64_t now
        clock_gettime(CLOCK_MONOTONIC, &time)
        now = <int64_t>time.tv_sec * 1000 + time.tv_nsec // 1000000
        now += load_offset(&self._clock_offset)
        return <uint64_t>now if now > 0 else 0
