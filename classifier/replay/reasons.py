"""Why a flow of a replay goes where it does."""

from classifier.engine.decision import REASONS as DECIDED

RELATED = "related"
"""Announced on another connection, whose uplink it shares without having been decided (conntrack's
RELATED); only with `gateway.helpers`."""

REASONS = (*DECIDED, RELATED)
