from types import TracebackType
from typing import Self, final

from classifier.errors import CaptureError

@final
class CaptureReader:
    """The packets of one pcap or pcapng capture, in file order; "-" is standard input.

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
        """How many bytes of the file were used so far."""
    def failure(self) -> CaptureError:
        """Why reading ended, as an error to raise."""
