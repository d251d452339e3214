"""Lower bounds on the cost of any plan, and the relaxations that planners are built on."""
