"""What the tables of the workstation show: columns, and how a row is made from the feed. Pure."""
