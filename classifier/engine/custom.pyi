from typing import Any

LONGEST: float
PATIENCE: float
MOST_LATE: int
SUSPENDED: int

class CustomMethod:
    name: str
    made: Any
    errors: int
    last_error: str | None
    busy_since: float | None
