"""A Salesforce org to practise and test on: REST, Bulk 2.0 and OAuth, with records, rules, limits and faults.

`running` serves one in a thread; `Simulator.org` is the org itself, whose `feed` is the log of what changed (see changes.py).
"""

from fieldline_simulators.certificate import TlsFiles, make_app_key, make_tls_files
from fieldline_simulators.salesforce.changes import Change, Expired, Feed
from fieldline_simulators.salesforce.command import main
from fieldline_simulators.salesforce.errors import ApiError
from fieldline_simulators.salesforce.load_csv import load_csv
from fieldline_simulators.salesforce.org import PASSWORD, SECURITY_TOKEN, Options, Org
from fieldline_simulators.salesforce.seed import ADMINISTRATOR, CLIENT_ID, CLIENT_SECRET, INTEGRATION, RESTRICTED
from fieldline_simulators.salesforce.server import Simulator, open_org, running

__all__ = [
    "ADMINISTRATOR",
    "CLIENT_ID",
    "CLIENT_SECRET",
    "INTEGRATION",
    "PASSWORD",
    "RESTRICTED",
    "SECURITY_TOKEN",
    "ApiError",
    "Change",
    "Expired",
    "Feed",
    "Options",
    "Org",
    "Simulator",
    "TlsFiles",
    "load_csv",
    "main",
    "make_app_key",
    "make_tls_files",
    "open_org",
    "running",
]
