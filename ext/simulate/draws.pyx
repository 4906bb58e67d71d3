"""Random numbers of the distributions that traffic is described by; the drawing is in draws.pxd."""
from libc.string cimport memset

from classifier.engine.hashing cimport mix

cdef dict KINDS = {
    "constant": CONSTANT, "exponential": EXPONENTIAL, "pareto": PARETO, "uniform": UNIFORM,
    "zipf": ZIPF,
}


cdef int prepare(Draws* draws, object distribution, uint64_t seed, uint64_t stream) except -1:
    memset(draws, 0, sizeof(Draws))
    # Streams are parts of one sequence of 2^64, begun far from each other.
    draws.state = mix(mix(seed) + stream)
    draws.kind = KINDS[distribution.kind]
    if draws.kind == UNIFORM:
        draws.count = distribution.numbers[0]
    elif draws.kind == ZIPF:
        draws.a, draws.count = distribution.numbers
        draws.first = zipf_integral(draws.a, 1.5) - 1
        draws.last = zipf_integral(draws.a, <double>draws.count + 0.5)
        draws.near = 2 - zipf_inverse(
            draws.a, zipf_integral(draws.a, 2.5) - zipf_density(draws.a, 2)
        )
    elif draws.kind == PARETO:
        draws.a, draws.b, draws.c = distribution.numbers
    else:
        draws.a = distribution.numbers[0]
    return 0
