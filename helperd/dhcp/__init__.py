"""Addresses from the DHCP server of the site (RFC 2131), for networks that are on its wire.

The client speaks for containers from the host's link that they hang on, not from inside them: so a lease is there before anything is
planned, a container can't meddle with it, and nothing holds its namespace. What servers send is read in a process without privilege.
"""
