"""nfq-classifier: balances new flows of a Linux gateway over its uplinks."""
