"""The command line: a thin layer that finds the installation, calls one function, and prints what came of it."""

import fieldline_server.cli.audit
import fieldline_server.cli.connectors
import fieldline_server.cli.dead_letters
import fieldline_server.cli.decisions
import fieldline_server.cli.documents
import fieldline_server.cli.erasure
import fieldline_server.cli.explain
import fieldline_server.cli.flows
import fieldline_server.cli.functions
import fieldline_server.cli.keys
import fieldline_server.cli.mappings
import fieldline_server.cli.models
import fieldline_server.cli.operation
import fieldline_server.cli.processes
import fieldline_server.cli.report
import fieldline_server.cli.rerun
import fieldline_server.cli.runs
import fieldline_server.cli.schemas
import fieldline_server.cli.specification
import fieldline_server.cli.training
import fieldline_server.cli.undo
import fieldline_server.cli.versions  # noqa: F401 (each adds its commands)
from fieldline_server.cli.app import app, main

__all__ = ["app", "main"]
