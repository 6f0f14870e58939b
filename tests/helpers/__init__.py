"""What several tests need: real inputs written to disk."""
