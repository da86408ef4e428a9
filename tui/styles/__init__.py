"""How the workstation looks: its themes, and `netdeck.tcss`, which uses nothing but their variables."""
