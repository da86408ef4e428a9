#!/bin/sh
# Ends with 0 where the running kernel has the links that tests marked `vm` make: 802.1Q, ipvlan, dummy. Needs root.
exec unshare -n sh -c 'ip link add a type veth peer name b && ip link add d type dummy && ip link add link a name a.1 type vlan id 1 &&
    ip link add link b name i type ipvlan mode l2' > /dev/null 2>&1
