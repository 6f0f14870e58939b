"""The sections of a report, a module each: from what is known of a run to what is shown of it.

Every module has one function that takes the `Material` and returns its `Section`, or None where
such a section has no meaning for the run. A section without data says why, and how to get it.
"""
