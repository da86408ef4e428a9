"""The Doctor: what is wrong on this host, why it matters, and the key that mends it after showing how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content

from protocol.errors import NetdeckError
from protocol.findings import Finding
from tui import keys
from tui.documents import Page
from tui.rows import findings as rows
from tui.screens.dialog import Dialog
from tui.screens.forms.confirm import Confirm
from tui.text import drawn
from tui.widgets.live_table import LiveTable
from tui.widgets.table_model import TableModel
from tui.widgets.text_pane import TextPane

if TYPE_CHECKING:
    from tui.workstation import Workstation

_FOOT = "{fix} mend · {refresh} look again · tab: to the page · esc leaves"


async def open_form(app: Workstation, arguments: str = "") -> None:
    """Show the findings. `arguments` are not used."""
    await app.push_screen_wait(DoctorScreen(app))


class DoctorScreen(Dialog[None]):
    """Looks when it is opened, and again when asked."""

    DEFAULT_CSS = """
    DoctorScreen > .dialog { width: 130; max-width: 98%; height: 94%; }
    DoctorScreen LiveTable { height: 1fr; max-height: 12; min-height: 3; background: transparent; }
    DoctorScreen TextPane { height: 2fr; border-top: solid $border-calm; }
    DoctorScreen TextPane:focus { border-top: solid $border-active; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key.keys, key.id.replace("doctor.", "doctor_"), key.words, id=key.id, show=False) for key in keys.KEYS
        if key.where == keys.DOCTOR
    ]

    def __init__(self, app: Workstation) -> None:
        signs = {key.id.removeprefix("doctor."): keys.shown(key.keys) for key in keys.KEYS if key.where == keys.DOCTOR}
        super().__init__("Doctor", _FOOT.format(**signs))
        self._station = app
        self._table = LiveTable(TableModel(rows.columns(app.glyphs), sort="severity"), glyphs=app.glyphs, id="findings")
        self._pane = TextPane(id="finding")
        self.findings: dict[str, Finding] = {}
        self._said = "looking …"

    def compose_body(self) -> ComposeResult:
        yield self._table
        yield self._pane

    def on_mount(self) -> None:
        self._table.focus()
        self.watch(self._pane, "show_vertical_scrollbar", self.on_resize, init=False)  # it takes a column from the text
        self.action_doctor_refresh()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show_page)

    @property
    def finding(self) -> Finding | None:
        """The one with the cursor."""
        key = self._table.cursor_key
        return self.findings.get(key) if key is not None else None

    def action_doctor_refresh(self) -> None:
        self.run_worker(self._look(), group="look", exclusive=True, exit_on_error=False)

    async def _look(self) -> None:
        try:
            answer = await self._station.client.call("doctor.list", {})
        except NetdeckError as error:
            self._said = error.message
            self._show_page()
            return
        found = [msgspec.convert(item, Finding) for item in answer]
        self.findings = {item.id: item for item in found}
        model = self._table.model
        for key in [key for key in model.rows.slots if key not in self.findings]:
            model.remove(key)
        for item in found:
            model.put(item.id, rows.row(item))
        self._said = "" if found else "Nothing is wrong."
        self._table.data_changed()
        self._table.paint_changes()
        wrong = sum(item.severity != "notice" for item in found)
        self._frame.border_title = Content(drawn(f"Doctor · {wrong or 'nothing'} wrong", self._station.glyphs))
        self.call_after_refresh(self._show_page)

    @on(LiveTable.Highlighted)
    @on(LiveTable.ViewChanged)
    def _moved(self, event: Any) -> None:
        event.stop()
        self._show_page()

    @on(LiveTable.Selected)
    def _opened(self, event: LiveTable.Selected) -> None:
        event.stop()
        self._pane.focus()
        if self.finding is not None:
            self._station.tell(rows.next_step(self.finding))

    def _show_page(self) -> None:
        width = max(20, self._pane.scrollable_content_region.width or self._pane.size.width)
        finding = self.finding
        if finding is None:
            page = Page(width)
            page.text(self._said, "muted")
            self._pane.set_lines(page.lines)
        else:
            self._pane.set_lines(rows.page(finding, width))

    def action_doctor_fix(self) -> None:
        finding = self.finding
        if finding is None:
            self._station.tell(self._said or "select a finding first")
        elif rows.asks_for_nothing(finding):
            self._station.tell(rows.next_step(finding))
        else:
            self.run_worker(self._fix(finding), group="fix", exclusive=True, exit_on_error=False)

    async def _fix(self, finding: Finding) -> None:
        back = rows.taken_back(finding)
        words = ("Take it back" if back else "Do it") if finding.automatic or back else ""
        title = f"{'Take back' if back else 'Mend'} {finding.id}" if words else f"{finding.id}: for you to do"
        if not await self._station.push_screen_wait(Confirm(title, lambda width: rows.page(finding, width), words)):
            return
        try:
            await self._station.client.call("doctor.fix", {"id": finding.id, "undo": back, "commands": finding.commands})
        except NetdeckError as error:
            self._station.show_error(error)
        else:
            self._station.tell(f"{finding.id} {'taken back' if back else 'mended'}")
        self.action_doctor_refresh()
