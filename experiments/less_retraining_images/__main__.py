"""Print the record's tables; `... run` makes its rows again."""

from experiments.records import main

main(__package__)
