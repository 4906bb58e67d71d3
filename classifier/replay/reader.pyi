from types import TracebackType
from typing import Self, final

@final
class CaptureReader:
    """The packets of one pcap or pcapng capture, in file order; "-" is standard input.

    The capture may be packed by gzip or zstd.

    Raises `CaptureError` when the file cannot be opened or read further.
    """

    path: str
    def __init__(self, path: str) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def close(self) -> None: ...
    @property
    def offset(self) -> int:
        """How many bytes of the file were used so far; of a packed one, read so far."""
    def first_time(self) -> int | None:
        """When the first packet was captured, in nanoseconds since 1970; None: there is none.

        For a reader that is not read otherwise. CaptureError when it cannot be read so far.
        """
    def failure(self) -> BaseException:
        """Why reading ended, as an error to raise: CaptureError, unless it was interrupted."""
