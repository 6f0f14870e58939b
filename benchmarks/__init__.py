"""What the platform saves, as ratios measured side by side; see `benchmarks/RESULTS.md`.

``make bench`` runs all of them, ``python -m benchmarks NAME`` one.
"""
