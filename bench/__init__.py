"""Measurements against peers; `python -m bench` lists and runs them."""
