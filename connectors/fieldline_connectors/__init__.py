"""Connectors to the systems where records live."""
