class Remotes:
    """The remotes with most traffic, in bounded room."""

    forgotten: int
    """How many had to make room for others; numbers are exact while it is 0."""

    def top(self, count: int) -> list[tuple[str, int, int, int]]:
        """Address, flows, bytes, and a bit for each column its flows went by; most bytes first."""
