"""What the tests of the API share: an engine with two published flows, made from a template, and a client of it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.api import Served, Template, client_of, make_template, served

from fieldline_server.embedded import Postgres


@pytest.fixture(scope="module")
def template(postgres: Postgres, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(postgres, migrated_template, tmp_path_factory.mktemp("template"))


@pytest.fixture
def api(template: Template, tmp_path: Path) -> Iterator[Served]:
    with served(template, tmp_path) as here:
        yield here


@pytest.fixture
def client(api: Served) -> Iterator[httpx.Client]:
    with client_of(api) as client:
        yield client
