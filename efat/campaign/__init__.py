"""What the method does, stage by stage."""
