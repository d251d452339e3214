"""Grouping and fusion: the least retraining for a whole fleet (METHOD section 6)."""
