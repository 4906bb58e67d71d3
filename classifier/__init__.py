"""nfq-classifier: balances new flows of a Linux gateway over its uplinks."""

from classifier.config import load_policy
from classifier.engine.classifier import Classifier
from classifier.replay import replay
from classifier.simulate import simulate
from classifier.sweep import sweep

__all__ = ["Classifier", "load_policy", "replay", "simulate", "sweep"]
