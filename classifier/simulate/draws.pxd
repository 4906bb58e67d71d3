# Random numbers of the distributions that traffic is described by.
#
# Uniform numbers are splitmix64's (see engine/hashing.pxd): one addition and one mix, no table, and
# a stream of its own for each quantity, so that another size of flows changes no arrival. numpy
# would make them in batches, but is a heavy dependency, and what a flow finds depends on those
# before it, so flows are made one by one anyway.
from libc.math cimport exp, expm1, fabs, log, log1p, pow
from libc.stdint cimport uint8_t, uint64_t

from classifier.engine.hashing cimport draw, splitmix

cdef enum Kind:
    CONSTANT = 0       # a
    EXPONENTIAL = 1    # mean a
    PARETO = 2         # shape a, from b to c
    UNIFORM = 3        # 1 to `count`
    ZIPF = 4           # rank 1 to `count`, exponent a

cdef struct Draws:
    uint64_t state
    uint8_t kind       # a Kind
    uint64_t count
    double a
    double b
    double c
    double first       # zipf: H(1.5) - h(1)
    double last        # zipf: H(count + 0.5)
    double near        # zipf: how near to its rank a point is taken without a look at h

# From a `classifier.simulate.distributions.Distribution`; `stream` numbers the quantity.
cdef int prepare(Draws* draws, object distribution, uint64_t seed, uint64_t stream) except -1


cdef inline double unit(uint64_t* state) noexcept nogil:
    # Above 0 and below 1, in steps of 2^-53.
    return (<double>(splitmix(state) >> 11) + 0.5) / 9007199254740992.0


cdef inline double zipf_density(double exponent, double x) noexcept nogil:
    return exp(-exponent * log(x))


cdef inline double zipf_integral(double exponent, double x) noexcept nogil:
    # (x^(1 - exponent) - 1) / (1 - exponent), and log x where the exponent is 1.
    cdef double log_x = log(x)
    cdef double y = (1 - exponent) * log_x
    return log_x * (expm1(y) / y if fabs(y) > 1e-8 else 1 + y / 2)


cdef inline double zipf_inverse(double exponent, double x) noexcept nogil:
    cdef double y = max(x * (1 - exponent), -1.0)
    return exp(x * (log1p(y) / y if fabs(y) > 1e-8 else 1 - y / 2))


cdef inline double zipf_rank(Draws* draws) noexcept nogil:
    # Hoermann & Derflinger, "Rejection-inversion to generate variates from monotone discrete
    # distributions", 1996: no table of ranks, fewer than 1.1 tries on average.
    cdef double u, x, rank
    while True:
        u = draws.last + unit(&draws.state) * (draws.first - draws.last)
        x = zipf_inverse(draws.a, u)
        rank = min(max(<double><uint64_t>(x + 0.5), 1.0), <double>draws.count)
        if rank - x <= draws.near or (
            u >= zipf_integral(draws.a, rank + 0.5) - zipf_density(draws.a, rank)
        ):
            return rank


cdef inline double drawn(Draws* draws) noexcept nogil:
    cdef double u
    if draws.kind == ZIPF:
        return zipf_rank(draws)
    if draws.kind == UNIFORM:
        return <double>(draw(&draws.state, draws.count) + 1)
    if draws.kind == CONSTANT:
        return draws.a
    u = unit(&draws.state)
    if draws.kind == EXPONENTIAL:
        return -draws.a * log(u)
    # The inverse of the distribution function, cut off at c.
    return draws.b * pow(1 - u * (1 - pow(draws.b / draws.c, draws.a)), -1 / draws.a)
