"""Experiment trackers: Weights & Biases, and whatever Lightning has a logger for."""
