"""Rules of others that drop packets of our networks, each named exactly, with the least that lets them through.

Nothing of others is changed by a look. Docker has a chain for rules of its users, there netdeck can put its own, by the operator's
word; for everybody else's the commands are told and not carried out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from shlex import quote

from helperd.bridge_chains import FAMILY
from helperd.doctor.situation import Situation
from helperd.forward_chains import Stop
from helperd.kernel.ruleset import HOOK
from helperd.neighbours import WITHIN, Hindrance, finding_id
from protocol.findings import Finding
from protocol.names import display_text

_OWNER_TEXT = {"docker": "Docker", "ufw": "ufw", "firewalld": "firewalld", "libvirt": "libvirt", "kubernetes": "Kubernetes",
               "podman": "Podman or CNI"}

_INSERT = ("Insert rules that let the bridge's packets pass, before what drops them, and write them into the file that this table is "
           "loaded from too: netdeck does not change tables of others.")


def foreign_drops(situation: Situation) -> Iterator[Finding]:
    """One finding for each rule or policy that drops something of ours."""
    by_rule: dict[str, list[Hindrance]] = {}
    for item in situation.hindrances:
        by_rule.setdefault(finding_id(item.stop), []).append(item)
    for ident, items in by_rule.items():
        yield _finding(ident, items, situation)


def _finding(ident: str, items: Sequence[Hindrance], situation: Situation) -> Finding:
    stop = items[0].stop
    names = tuple(dict.fromkeys(item.network for item in items))
    networks = [network for network in situation.networks if network.name in names]
    links = [network.link for network in networks]
    owner = situation.owners.get(ident, ())
    used = any(map(situation.used, networks))
    own = stop.hook in ("input", "output") and stop.family != FAMILY  # what the host itself gets or sends
    automatic = stop.certain and not stop.legacy and "docker" in owner and stop.family in situation.hooks and not own
    if own:
        remedy, commands, undo = _of_host(stop, owner, items, links)
    elif stop.family == FAMILY:
        families = {item.family for item in items}
        subnets = [item.subnet for network in networks for item in network.subnets if (6 if ":" in item.subnet else 4) in families]
        remedy, (commands, undo) = _INSERT, _frames(stop, subnets)
    else:
        remedy, commands, undo = _remedy(stop, owner, links, situation, automatic)
    ways = list(dict.fromkeys(f"{item.network}: {item.way} (IPv{item.family})" for item in items))
    why = ("the kernel asks the chains of everybody, and one drop is final: what netdeck accepts in its own table does not overrule it.")
    if stop.legacy:
        why += " nft does not list the tables of iptables-legacy: see them with `iptables-legacy-save` or `ip6tables-legacy-save`."
    if own:
        why += (" A port of one family that leads to a container of the other is carried by the relay: what comes there ends on this host, "
                "and what leads on is from this host.")
    elif stop.family == FAMILY:
        why += " Chains of the family bridge, where ebtables has its rules too, are asked of each frame that passes a bridge's port."
    elif any(item.way == WITHIN for item in items):
        why += (" Packets between containers of one bridge meet it too, because br_netfilter shows them to iptables "
                "(net.bridge.bridge-nf-call-iptables = 1).")
    if not stop.certain:
        why += f" An earlier rule may let them through, which can't be said from here: `{display_text(stop.unless)}`."
    what = f"{display_text(stop.words)}{_by(owner)} drops packets of {', '.join(names)}"
    # Whoever shuts the host's own ports may mean it, and the container is reached in its own family.
    severity = ("error" if used and not own else "warning") if stop.certain else "notice"
    return Finding(ident, severity, what, why, remedy,
                   details=(f"table {stop.family} {display_text(stop.table)}{' of iptables-legacy' * stop.legacy}, chain "
                            f"{display_text(stop.chain)}, " + (f"{'number' if stop.legacy else 'handle'} {stop.handle}: "
                                                               f"{display_text(stop.rule)}" if stop.handle else "policy drop"), *ways),
                   commands=commands, undo=undo, automatic=automatic, networks=names)


def _of_host(stop: Stop, owner: Sequence[str], items: Sequence[Hindrance],
             links: Sequence[str]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """As `_remedy`, where connections of the relay are dropped: by the port of the host, or on the way to the bridge."""
    ports = sorted({(port.protocol, port.host_port) for item in items for port in item.ports})
    if stop.hook == "input" and "firewalld" in owner:
        names = [f"{number}/{protocol}" for protocol, number in ports]
        return ("Open the ports in firewalld, in the zone of the link by which clients come.",
                tuple(command for name in names for command in (f"firewall-cmd --permanent --add-port={name}",
                                                                f"firewall-cmd --add-port={name}")),
                tuple(command for name in names for command in (f"firewall-cmd --permanent --remove-port={name}",
                                                                f"firewall-cmd --remove-port={name}")))
    if stop.hook == "input" and "ufw" in owner:
        return ("Open the ports in ufw.", tuple(f"ufw allow {number}/{protocol}" for protocol, number in ports),
                tuple(f"ufw delete allow {number}/{protocol}" for protocol, number in ports))
    what = "packets for these ports" if stop.hook == "input" else "what this host sends to the bridge"
    text = (f"Insert rules that let {what} pass, before what drops them, and keep them as the others are kept: netdeck does not change "
            "tables of others.")
    if stop.legacy:
        tool = "iptables-legacy" if stop.family == "ip" else "ip6tables-legacy"
        ways = [f"INPUT -p {protocol} --dport {number}" for protocol, number in ports] if stop.hook == "input" else \
            [f"OUTPUT -o {quote(display_text(link))}" for link in links]
        insert, delete = (tuple(f"{tool} {flag} {way} -m comment --comment netdeck -j ACCEPT" for way in ways) for flag in ("-I", "-D"))
        return text, insert, delete
    matches = [f"{protocol} dport {number}" for protocol, number in ports] if stop.hook == "input" else \
        [f'oifname "{link}"' for link in links]
    return text, *_insertions(f"{stop.family} {display_text(stop.table)} {display_text(stop.base)}", matches)


def _by(owner: Sequence[str]) -> str:
    return f", likely of {' and '.join(_OWNER_TEXT[name] for name in owner)}," if owner else ", of an owner unknown to netdeck,"


def _remedy(stop: Stop, owner: Sequence[str], links: Sequence[str], situation: Situation,
            automatic: bool) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(what to do, its commands, what takes it back)."""
    found = situation.uplinks.get(6 if stop.family == "ip6" else 4, ()) or situation.uplinks.get(6, ())
    uplinks = tuple(quote(display_text(link)) for link in found)
    if automatic:
        return (f"Put accept rules for the bridges of netdeck into {HOOK}, the chain that Docker keeps for its users. netdeck does it by "
                "your word, and keeps them there for networks to come and over restarts, until you take it back.", (), ())
    if "firewalld" in owner:
        return ("Trust the bridge in firewalld; netdeck's own table still says what may pass.",
                tuple(command for link in links for command in (f"firewall-cmd --permanent --zone=trusted --add-interface={link}",
                                                                f"firewall-cmd --zone=trusted --add-interface={link}")),
                tuple(command for link in links for command in (f"firewall-cmd --permanent --zone=trusted --remove-interface={link}",
                                                                f"firewall-cmd --zone=trusted --remove-interface={link}")))
    if "ufw" in owner:
        allowed = [command for link in links for command in
                   (*(f"route allow in on {link} out on {uplink}" for uplink in uplinks), f"route allow out on {link}")]
        return ("Let ufw route for the bridge; netdeck's own table still says what may pass.",
                tuple(f"ufw {text}" for text in allowed), tuple(f"ufw {text.replace('route', 'route delete', 1)}" for text in allowed))
    if stop.legacy:
        return ("Insert rules that let the bridge's packets pass, before what drops them, and keep them as the others are kept: netdeck "
                "does not change tables of others.", *_iptables(stop, links, uplinks))
    return (_INSERT, *_nft(stop, links, uplinks))


def _iptables(stop: Stop, links: Sequence[str], uplinks: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    tool = "iptables-legacy" if stop.family == "ip" else "ip6tables-legacy"
    bridges = [quote(display_text(link)) for link in links]
    ways = [way for link in bridges for way in (f"-o {link}", *(f"-i {link} -o {uplink}" for uplink in uplinks))]

    def commands(flag: str) -> tuple[str, ...]:
        return tuple(f"{tool} {flag} FORWARD {way} -m comment --comment netdeck -j ACCEPT" for way in ways)

    return commands("-I"), commands("-D")


def unread(situation: Situation) -> Iterator[Finding]:
    """Tables of iptables-legacy that are there and can't be read."""
    for family in situation.unread:
        tool = "iptables-legacy-save" if family == "ip" else "ip6tables-legacy-save"
        yield Finding(
            f"foreign-unread.{family}-legacy", "notice",
            f"there is a table of iptables-legacy (IPv{6 if family == 'ip6' else 4}) that netdeck can't read",
            "Its rules may drop packets of netdeck's networks, and nothing here would say so.",
            f"See it with `{tool}`, which Debian has in the package iptables; netdeck reads it with that too.")


def _nft(stop: Stop, links: Sequence[str], uplinks: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    place = f"{stop.family} {display_text(stop.table)} {display_text(stop.base)}"
    matches = [match for link in links for match in
               (f'oifname "{link}"', *(f'iifname "{link}" oifname "{uplink}"' for uplink in uplinks))]
    return _insertions(place, matches)


def _frames(stop: Stop, subnets: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """By the addresses: few kernels can tell the bridge that a frame is on, and ports come and go."""
    matches = [match for subnet in subnets for match in
               ((f"ip6 saddr {subnet}", f"ip6 daddr {subnet}") if ":" in subnet else
                (f"ip saddr {subnet}", f"ip daddr {subnet}", f"arp saddr ip {subnet}"))]
    if any(":" in subnet for subnet in subnets):
        matches.append("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }")
    return _insertions(f"{stop.family} {display_text(stop.table)} {display_text(stop.base)}", matches)


def _insertions(place: str, matches: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(rules in front of all others, what takes them back)."""
    return (tuple("nft " + quote(f'insert rule {place} {match} counter accept comment "for netdeck"') for match in matches),
            (f"nft -a list chain {place}  # shows the handles of the rules with the comment \"for netdeck\"",
             f"nft delete rule {place} handle HANDLE"))
