"""A replay, or a simulation, as one HTML file that opens offline."""

from classifier.report.page import page
from classifier.report.subject import Subject

__all__ = ["Subject", "page"]
