"""Captures through a policy: what would have gone where, before the policy carries traffic."""

from classifier.replay.report import FlowDecision, Report, RuleUse, Use
from classifier.replay.run import Replay, replay

__all__ = ["FlowDecision", "Replay", "Report", "RuleUse", "Use", "replay"]
