"""The sections of tests/vm/overview/overview.md that every kernel has the links for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running_lab import Lab
from tests.vm.overview.document import Section, carry_out, sections
from tests.vm.site import Site


@pytest.fixture(scope="module")
def whole_site(module_lab: Lab) -> Iterator[Site]:
    made = Site(module_lab, vlans=())
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def site(whole_site: Site) -> Iterator[Site]:
    yield whole_site
    whole_site.clear()


@pytest.mark.parametrize("section", [pytest.param(item, marks=pytest.mark.req(*item.requirements), id=item.title.replace(" ", "-"))
                                     for item in sections() if item.anywhere])
def test_section(site: Site, section: Section) -> None:
    carry_out(site, section)


def test_the_page_leaves_nothing_out_silently() -> None:
    """Each requirement of the text that is there has a section; what is not is said in the page's first words."""
    named = {key for section in sections() for key in section.requirements}
    assert {f"I{number}" for number in range(1, 15)} <= named
    assert {f"M{number}" for number in range(1, 6)} <= named and {"B1", "B2", "B4", "B5", "B9", "B11", "H1", "H2", "N1"} <= named
