"""Many policies over many captures, side by side, into one table."""

from classifier.sweep.run import Sweep, plan, sweep

__all__ = ["Sweep", "plan", "sweep"]
