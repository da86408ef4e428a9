"""The forms of the workstation: each change is filled in, shown as a plan, and then made."""
