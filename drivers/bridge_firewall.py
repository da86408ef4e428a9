"""What may pass a bridge network, as chains of the table `inet netdeck`: isolation, icc, internal, masquerade.

Order and meaning are moby's (libnetwork/drivers/bridge/internal/nftabler). The host itself always reaches its
containers: none of this is looked at for packets that it sends or receives.
"""

from __future__ import annotations

import ipaddress

from drivers.bridge_links import opens_links
from drivers.objects import HOST, LINKED_CHAIN, MASKED, RELAYED_CHAIN, AnyObject, Chain, Jump, Match, Rule
from protocol.model import Network
from protocol.names import display_text

_COMMENT_BYTES = 127  # NFTNL_UDATA_COMMENT_MAXLEN of libnftnl, less the closing NUL
_FAMILY = {4: "ip", 6: "ip6"}


def firewall_objects(network: Network) -> tuple[AnyObject, ...]:
    """The chains of a network and the elements of the verdict maps that lead its packets to them."""
    link = network.link
    objects: list[AnyObject] = [
        Chain(HOST, f"to-{link}", _to_rules(network)),
        Chain(HOST, f"from-{link}", _from_rules(network)),
        Chain(HOST, f"arrive-{link}", _arrive_rules(network)),
        Jump(HOST, "arrive-from", link, f"arrive-{link}"),
        Jump(HOST, "forward-to", link, f"to-{link}"),
        Jump(HOST, "forward-from", link, f"from-{link}"),
    ]
    if not network.internal:
        objects += (Chain(HOST, f"in-{link}", _in_rules(network)), Jump(HOST, "nat-to", link, f"in-{link}"))
    nat = _nat_rules(network)
    if nat:
        objects += (Chain(HOST, f"nat-{link}", nat), Jump(HOST, "nat-from", link, f"nat-{link}"))
    return tuple(objects)


def _to_rules(network: Network) -> tuple[Rule, ...]:
    """Forwarded packets that leave by the bridge, so go to a container. The closing drop keeps networks apart."""
    link = network.link
    rules = [
        Rule(
            (Match("ct state", ("established", "related")),),
            "accept",
            _comment(network, "answers to what was let through"),
        )
    ]
    if network.internal:
        rules.append(Rule((Match("iifname", (link,), "!="),), "drop", _comment(network, "internal, nothing comes in")))
    else:
        rules.append(Rule((Match("ct status", ("dnat",)),), "accept", _comment(network, "to its published ports")))
    if opens_links(network):
        rules.append(Rule((Match("iifname", (link,)),), f"jump {LINKED_CHAIN}", _comment(network, "what links open")))
    # What passes an uplink also came in by the bridge, where br_netfilter shows it: there isolated ports alone keep containers apart.
    verdict, why = (("drop", "containers may not talk to each other (icc=false)")
                    if network.options.get("icc") == "false" and not network.uplink
                    else ("accept", "the site passes" if network.uplink else "containers talk to each other"))
    rules.append(Rule((Match("iifname", (link,)),), verdict, _comment(network, why)))
    rules.append(Rule((), "drop", _comment(network, "nothing else comes in, the port is not published")))
    return tuple(rules)


def _from_rules(network: Network) -> tuple[Rule, ...]:
    """Forwarded packets that came in by the bridge, so come from a container.

    The last rule returns, it does not accept: the destination's chain has its say whichever of the two is asked first.
    """
    if network.internal:
        verdict = Rule(
            (Match("oifname", (network.link,), "!="),), "drop", _comment(network, "internal, nothing goes out")
        )
    else:
        verdict = Rule((), "return", _comment(network, "from its containers"))
    return (verdict,)


def _arrive_rules(network: Network) -> tuple[Rule, ...]:
    """Packets that came in by the bridge, before anything else. Its `route_localnet` is on while ports are published."""
    loopback = Match("ip daddr", ("127.0.0.0/8",))
    rules = [Rule((loopback,), "drop", _comment(network, "containers don't reach the host's loopback"))]
    if network.internal:
        # Where bridged packets are filtered too, its own come by here as well. A socket on all addresses hears the other kinds too.
        to_host = Match("fib daddr type", ("local", "broadcast", "anycast", "multicast"))
        rules.append(Rule((to_host,), f"jump {RELAYED_CHAIN}", _comment(network, "internal, no published ports of others")))
    return tuple(rules)


def _in_rules(network: Network) -> tuple[Rule, ...]:
    """Whose address published packets have when they leave by the bridge: that of the bridge, where answers would not come back
    to this host, or a container would meet its own address or one of its own wire."""
    published = Match("ct status", ("dnat",))
    rules = [
        Rule((Match("fib saddr type", ("local",)), published), "masquerade",
             _comment(network, "published ports, from this host")),
    ]
    for version, on in ((4, network.ipv4), (6, network.ipv6)):
        if on:
            # Where bridged packets are filtered too (br_netfilter), there is no interface here that they came in by.
            own = tuple(item.subnet for item in network.subnets if ipaddress.ip_network(item.subnet).version == version)
            if own:  # it has none where a DHCP server says which they are
                rules.append(Rule((Match(f"{_FAMILY[version]} saddr", own), published), "masquerade",
                                  _comment(network, "published ports, from its own containers")))
            to = Match(f"{_FAMILY[version]} daddr", (f"@{MASKED[version]}",))
            rules.append(Rule((to, published), "masquerade",
                              _comment(network, "published ports of containers that answer by another way")))
    return tuple(rules)


def _nat_rules(network: Network) -> tuple[Rule, ...]:
    """What leaves by another link gets a source address that the outside can answer to."""
    if network.internal or network.options.get("masquerade") == "false":
        return ()
    rules = []
    for subnet in network.subnets:
        family = ipaddress.ip_network(subnet.subnet).version
        source = network.options.get(f"host_ipv{family}")
        rules.append(
            Rule(
                (Match("oifname", (network.link,), "!="), Match(f"{_FAMILY[family]} saddr", (subnet.subnet,))),
                f"snat to {source}" if source else "masquerade",
                _comment(
                    network, f"to the outside as {source}" if source else "to the outside with the host's address"
                ),
            )
        )
    return tuple(rules)


def _comment(network: Network, text: str) -> str:
    """A comment that names the network, as nft can hold and quote it: printable ASCII, no quotes, 127 bytes at most."""
    name = display_text(network.name).replace('"', "'").replace("\\", "/")
    return f"{name}: {text}".encode("ascii", "replace")[:_COMMENT_BYTES].decode("ascii")
