"""Counts among the arguments."""

from __future__ import annotations

import argparse


def count(text: str) -> int:
    """An integer from 1 on; the error is argparse's own."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be an integer from 1 on")
    return number
