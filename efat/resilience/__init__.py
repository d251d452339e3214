"""Curves -> resilience map -> amounts."""
