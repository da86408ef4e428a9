"""Keys of a widget in the order in which they came.

Textual runs a binding only when its key has gone up through all the parents to the program, each of which has a queue. A letter that
comes after it is in the field before that: ctrl+u would take away what was typed after it, and space would switch what has the focus
by then. So these widgets run their own bindings when the key comes to them.
"""

from __future__ import annotations

from textual.events import Key
from textual.widget import Widget


async def run_own_binding(widget: Widget, event: Key) -> None:
    """Do what `widget` itself has bound to the key, now; the event ends there. Any other key goes its usual way."""
    for binding in widget._bindings.key_to_bindings.get(event.key, ()):
        if not binding.priority and await widget.app.run_action(binding.action, widget):
            event.stop()
            event.prevent_default()
            return
