"""The attack explorer as a widget: controls that make a choice, and what is drawn for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from pathlib import PurePath
from typing import Any

import ipywidgets as w
from torch import nn

from nbtools.attacks.table import ATTACKS
from nbtools.conditions import HIERARCHY
from nbtools.data.images.own import check_size, read_image
from nbtools.data.images.sets import ImageSet
from nbtools.devices import best_device
from nbtools.errors import InputError
from nbtools.models.networks import freeze
from nbtools.plots.robustness.decisions import class_bars, decision_path, mark_level, move_bars
from nbtools.widgets import attack_html
from nbtools.widgets.attack_saved import Origin, as_code, load_state, save_state
from nbtools.widgets.attack_state import LEVELS, OWN, STEPS, Bench, Choice
from nbtools.widgets.attack_view import view
from nbtools.widgets.exchange import Outbox, Tray
from nbtools.widgets.jobs import Background, Tick
from nbtools.widgets.parts import Controls, Explorer, fill

NO_SECOND = "—"
HINT = (
    "<b>Attack explorer.</b> Choose an image, networks and an attack, then drag ε (Tab reaches every control, arrow "
    "keys move the sliders). Grey bars: what a network says to the clean image. Circles: where its decision flips."
)
WIDE = {"description_width": "70px"}


class AttackExplorer(Explorer):
    """Attack an image by hand: drag ε and see what networks decide.

    Parameters
    ----------
    networks : mapping of condition → nn.Module
        Trained on the classes of `images`; the first two are shown first.
    images : ImageSet
        To choose from.
    origin : Origin
        Where both come from, for the code that makes the same picture.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        `Study.title`, shown in the figure.
    levels : tuple of float
        ε in 1/255, ascending.
    attack, steps, seed
        Of the first attack, as in `attacks.perturb`.

    Notes
    -----
    The first attack runs before the widget shows, later ones in the background. Results are kept: over what was
    computed, ε moves at once.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        images: ImageSet,
        *,
        origin: Origin,
        order: Sequence[str] = HIERARCHY,
        title: str,
        levels: tuple[float, ...] = LEVELS,
        attack: str = "LinfPGD",
        steps: int = 20,
        seed: int = 0,
    ):
        device = best_device()
        ready = {name: freeze(network.to(device)) for name, network in networks.items()}
        self.bench = Bench(ready, images, levels)
        middle = levels[len(levels) // 2]
        self.choice = Choice(str(images.ids[0]), tuple(networks)[:2], attack, steps, level=middle, seed=seed)
        self.bench.check(self.choice)
        self._origin, self._order, self._title = origin, order, title
        self._shown = self.choice
        self._working: Choice | None = None
        self._background = Background(_running_loop())
        for name in self.bench.missing(self.choice):
            self.bench.compute(self.choice, name)
        self.controls = self._make_controls()
        self.controls["image"].on_msg(self._received)
        self.progress = w.IntProgress(layout={"width": "160px", "visibility": "hidden"})
        self.stop = w.Button(description="Cancel", disabled=True, layout={"width": "90px"})
        self.stop.on_click(lambda _: self.cancel())
        self.message, self.pictures, self.outbox = w.HTML(), w.HTML(), Outbox()
        self.bars, self.path = w.Box(), w.Box()
        self._draw()
        hint = w.HTML(f'<div class="nbtools-message">{HINT}</div>')
        shown = [self.message, self.pictures, self.bars, self.path, self.outbox]
        super().__init__([hint, self.controls["image"], self._panel(), *shown])

    # --- parts ------------------------------------------------------------------------------------------------

    def _make_controls(self) -> Controls:
        names, chosen = list(self.bench.networks), self.choice
        first, second = (*chosen.networks, "")[:2]
        levels = [(f"{level:g}/255" if level else "clean", level) for level in (0.0, *self.bench.levels)]
        return Controls(
            self._chosen,
            image=Tray(thumbnails=attack_html.thumbnails(self.bench.images), value=chosen.image),
            first=_dropdown("network", names, first),
            second=_dropdown("beside", [(NO_SECOND, ""), *zip(names, names, strict=True)], second),
            attack=_dropdown("attack", list(ATTACKS), chosen.attack),
            steps=_dropdown("steps", sorted({*STEPS, chosen.steps}), chosen.steps),
            target=_dropdown("target", [("any other class", ""), *((name, name) for name in self.bench.classes)], ""),
            level=w.SelectionSlider(
                options=levels,
                value=chosen.level,
                description="ε",
                style={"description_width": "20px"},
                layout={"width": "440px"},
            ),
        )

    def _panel(self) -> w.Widget:
        of = self.controls.named
        networks = w.HBox([of["first"], of["second"], of["target"]])
        attack = w.HBox([of["attack"], of["steps"]])
        return w.VBox([networks, attack, w.HBox([of["level"], self.progress, self.stop])])

    # --- what the reader does ---------------------------------------------------------------------------------

    def select(self, choice: Choice) -> None:
        """Show a choice: at once if its attacks have been computed, else when they have.

        Raises
        ------
        InputError
            If it chooses what is not there.
        """
        self.bench.check(choice)
        self.choice = choice
        self._set_controls(choice)
        if choice.same_attacks(self._working):
            return
        self._idle()
        if self.bench.missing(choice):
            self._attack(choice)
        else:
            self._draw()

    def cancel(self) -> None:
        """Give up the running attack and go back to what is shown."""
        self._idle("Cancelled. Back to the last picture.")
        self.choice = self._shown
        self._set_controls(self.choice)

    def _chosen(self) -> None:
        chosen = self.controls.values()
        networks = [chosen.pop(place) for place in ("first", "second")]
        with self._complaints():
            self.select(replace(self.choice, networks=tuple(dict.fromkeys(filter(None, networks))), **chosen))

    def _received(self, _: Any, content: dict, buffers: list) -> None:
        """Take a file that was dropped: an image, or a saved state."""
        name = PurePath(str(content.get("name") or "image").replace("\\", "/")).name[-80:]
        with self._complaints():
            size = content.get("size")
            check_size(size if isinstance(size, int) else 0, name)  # the page sends no more than it may
            data = bytes(buffers[0]) if buffers else b""
            if name.lower().endswith(".json"):
                choice = load_state(self.bench, data.decode(errors="replace"))
            else:
                side = int(self.bench.images.pixels.shape[-1])
                own = self.bench.add_image(read_image(data, name, side), name)
                choice = replace(self.choice, image=own)
            self.controls["image"].thumbnails = attack_html.thumbnails(self.bench.images)
            self.select(choice)

    # --- work -------------------------------------------------------------------------------------------------

    def _attack(self, choice: Choice) -> None:
        names = self.bench.missing(choice)
        self._working = choice

        def work(tick: Tick) -> None:
            for name in names:
                self.bench.compute(choice, name, tick)

        most = len(names) * (len(self.bench.levels) + 1) * (choice.steps + 2)
        self.progress.max, self.progress.value = most, 0
        self.progress.layout.visibility, self.stop.disabled = "visible", False
        self._say(f"{choice.attack} on {' and '.join(names)} …")
        self._background.start(work, done=self._done, failed=self._failed, progress=self._progressed)

    def _progressed(self, ticks: int) -> None:
        self.progress.value = min(ticks, self.progress.max)

    def _done(self, _: None) -> None:
        self._idle()
        self._draw()

    def _failed(self, error: Exception) -> None:
        self.cancel()
        self._say(str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}", alert=True)

    def _idle(self, text: str = "") -> None:
        self._background.cancel()
        self._working = None
        self.progress.layout.visibility, self.stop.disabled = "hidden", True
        self._say(text)

    # --- drawing ----------------------------------------------------------------------------------------------

    def _draw(self) -> None:
        choice, seen = self.choice, view(self.bench, self.choice)
        title = escape(f"{choice.attack} on {choice.image.removeprefix(OWN)}, ε = {seen.budget} ({self._title})")
        if self.bars.children and choice.same_attacks(self._shown):  # ε alone has moved
            bars, path = (box.children[0].drawn for box in (self.bars, self.path))
            move_bars(bars, seen.bars, seen.path, seen.level, title=title)
            mark_level(path, seen.path, seen.level)
        else:
            unit = "1/255" if ATTACKS[choice.attack].norm != 2 else "1/255, root mean square"
            path_title = f"Decision path ({self._title})"
            x_title = f"attack budget ε ({unit})"
            bars = class_bars(seen.bars, seen.path, seen.level, order=self._order, title=title)
            path = decision_path(seen.path, seen.level, x_title=x_title, order=self._order, title=path_title)
        fill(self.bars, bars)
        fill(self.path, path)
        self.pictures.value = attack_html.pictures(seen)
        self.outbox.code = as_code(self.bench, choice, self._origin)
        self.outbox.state = save_state(self.bench, choice)
        self._shown = choice

    def _set_controls(self, choice: Choice) -> None:
        steps = self.controls["steps"]
        if choice.steps not in steps.options:
            with self.controls.quietly():
                steps.options = sorted({*steps.options, choice.steps})
        first, second = (*choice.networks, "")[:2]
        fields = {name: value for name, value in vars(choice).items() if name in self.controls.named}
        self.controls.set(first=first, second=second, **fields)

    def _say(self, text: str, *, alert: bool = False) -> None:
        self.message.value = attack_html.message(text, alert=alert) if text else ""

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        """Show what is wrong with an input instead of failing, and go back to what is shown."""
        try:
            yield
        except InputError as error:
            self._set_controls(self.choice)
            self._say(str(error), alert=True)


def _dropdown(name: str, options: list, value: object) -> w.Dropdown:
    return w.Dropdown(options=options, value=value, description=name, style=WIDE, layout={"width": "230px"})


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
