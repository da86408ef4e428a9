"""One site for all tests here, which each leave as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running_lab import running_lab
from tests.vm.site import Site


@pytest.fixture(scope="session")
def whole_site() -> Iterator[Site]:
    with running_lab() as lab:
        made = Site(lab)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    """The site; afterwards it is cleared, and all links that are not netdeck's must be as before."""
    before = whole_site.foreign()
    yield whole_site
    whole_site.clear()
    assert whole_site.foreign() == before, "links of others are not what they were"
