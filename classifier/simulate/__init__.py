"""Synthetic traffic through a policy, over uplinks whose capacities fill."""

from classifier.simulate.report import Durations, Load, Simulation
from classifier.simulate.run import run, simulate
from classifier.simulate.traffic import Traffic, read_traffic

__all__ = ["Durations", "Load", "Simulation", "Traffic", "read_traffic", "run", "simulate"]
