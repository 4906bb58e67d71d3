EXTENSION_HEADERS: frozenset[int]
"""Protocol numbers of IPv6 headers that have another header behind them."""
