"""Colours of all figures: told apart by the colour-blind too (Okabe & Ito, 2008)."""

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, AMBER, SKY = "#CC79A7", "#E69F00", "#56B4E9"
GREY = "#666666"
"""On paper."""
MID_GREY = "#808080"
"""On pages, which may be dark."""
