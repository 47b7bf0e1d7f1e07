"""`python -m fieldline_server` is `fieldline`."""

from fieldline_server.cli import main

main()
