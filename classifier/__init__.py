"""nfq-classifier: balances new flows of a Linux gateway over its uplinks."""

from classifier.classifier import Classifier

__all__ = ["Classifier"]
