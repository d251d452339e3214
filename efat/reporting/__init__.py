"""What people see: run folder, terminal, figures, HTML report, experiment trackers.

Imports `campaign` and below, never `config`. Each subpackage is imported by itself.
"""
