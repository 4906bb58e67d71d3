# What an FTP control connection says about data connections.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum FtpMessage:
    ANNOUNCES = 1       # a data connection to the sender's own address
    NOTHING = 0
    PARTIAL = -1        # it would announce one, if it were whole

# Reads a line that begins at `data`. A client (PORT, EPRT) or a server (227, 229) tells where it
# waits: `port` is set. `sender` is the address of who sent the line: to another one, nothing is
# expected, since a connection there was never asked for by who waits at it.
cdef FtpMessage read_ftp(
    const uint8_t* data, uint32_t size, bint from_server, uint8_t family, const uint64_t* sender,
    uint16_t* port,
) noexcept nogil
