"""The planners, one a file: each turns a `Problem` into a `Plan`."""
