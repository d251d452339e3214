"""Runs content-addressed jobs; knows nothing of faults."""
