"""Command line and YAML -> a checked Experiment."""
