"""The mechanisms that promises rest on, each taken away once to see that a test breaks.

``python -m tests.removals`` takes all of them away, one after the other, in a copy of the project;
``python -m tests.removals "a disk"`` those whose promise or name has these words.
"""
