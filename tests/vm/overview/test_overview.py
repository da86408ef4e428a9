"""The sections of the overview page that need links which a kernel may lack; the others are in tests/kernel/test_overview.py."""

from __future__ import annotations

import pytest

from tests.vm.overview.document import Section, carry_out, sections
from tests.vm.site import Site


@pytest.mark.parametrize("section", [pytest.param(item, marks=pytest.mark.req(*item.requirements), id=item.title.replace(" ", "-"))
                                     for item in sections() if not item.anywhere])
def test_section(site: Site, section: Section) -> None:
    carry_out(site, section)
