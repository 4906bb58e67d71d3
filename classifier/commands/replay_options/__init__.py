"""The options of `replay`, one idea per module.

`captures` says what is read and how; every other module that has options is an `Output`
(see output.py) and stands in one of the two lists of commands/replay.py.
"""
