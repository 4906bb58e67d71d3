"""Readers of a queue, each a program of its own that talks with the bench as reader.h says."""
