"""What is asked of a site, where the asking itself fails."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from helperd.kernel.site_probe import Question
from helperd.site_probes import SiteProbes
from protocol.model import Endpoint, Network


@pytest.mark.req("I14")
@pytest.mark.parametrize(("fault", "logged"), [(RuntimeError("a fault of ours"), True), (OSError("the link is down"), False)])
def test_a_fault_of_ours_is_logged(fault: Exception, logged: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
                                   ) -> None:
    async def ask(self: Question, pauses: object) -> None:
        raise fault

    monkeypatch.setattr(Question, "ask", ask)
    network = Network(id="n", name="pub", driver="macvlan", created=0.0, options={"parent": "eth0"})
    probes = SiteProbes(cast(Any, None), cast(Any, None))  # neither is looked at unless somebody answers
    assert asyncio.run(probes.named(network, Endpoint(id="", network="n", container=""), ["192.168.1.9"])) == {}
    assert (str(fault) in caplog.text) is logged
