class Timeline:
    """What each of `columns` ways carries over time."""

    columns: int
    width: int
    """Milliseconds of a bucket."""

    def __init__(self, columns: int) -> None: ...
    def column(self, column: int) -> list[tuple[int, int, int, int, int]]:
        """One way's buckets: flows started, bytes down and up, and the bytes down and up of the
        busiest second that ends in the bucket; IndexError."""
