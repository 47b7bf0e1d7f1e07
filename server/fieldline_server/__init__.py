"""API, command line, workers and the wiring."""

from importlib.metadata import version

__version__ = version("fieldline")

__all__ = ["__version__"]
