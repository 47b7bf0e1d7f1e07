"""Servers that behave like the systems Fieldline talks to."""
