"""The attack explorer as a widget: a page that shows one choice at every ε, and the kernel that computes it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import PurePath
from typing import Any

import anywidget
import traitlets
from torch import nn

from nbtools.checks import reading
from nbtools.conditions import HIERARCHY
from nbtools.data.images.own import MAX_BYTES, check_size, read_image
from nbtools.data.images.sets import ImageSet
from nbtools.errors import InputError
from nbtools.widgets.attack_paths import LEVELS
from nbtools.widgets.attack_saved import Origin, as_address, as_code, load_state, read_address, read_choice, save_state
from nbtools.widgets.attack_scene import menu, scene, thumbnails
from nbtools.widgets.attack_state import CLASS, Bench, Choice
from nbtools.widgets.jobs import Background, Tick
from nbtools.widgets.parts import Explorer, script, styles

_LECTERN = ("lectern_parts", "lectern_controls", "lectern_path", "lectern_image", "lectern_class", "lectern")


class Lectern(anywidget.AnyWidget):
    """The page: what there is to choose from, what is chosen, and a scene that holds everything at every ε.

    Attributes
    ----------
    menu, thumbnails, scene
        As `attack_scene` makes them.
    choice : dict
        A `Choice`, set by either side.
    status : dict
        ``text``, ``alert``, and of a running attack ``done`` of ``most`` steps; ``most`` is 0 where none runs.
    saved : dict
        ``code``, ``state`` and ``address`` of what is shown.
    limit : int
        Bytes of a file that may be dropped.

    Notes
    -----
    A dropped file arrives as a message ``{"name", "size"}`` with its bytes as the only buffer, or without a buffer if
    it is larger than `limit`. Others are ``{"cancel": True}`` and ``{"address": …}``, what stood behind ``#``.
    """

    _esm = script("elements", *_LECTERN)
    _css = styles("lectern")
    menu = traitlets.Dict().tag(sync=True)
    thumbnails = traitlets.List(traitlets.Dict()).tag(sync=True)
    choice = traitlets.Dict().tag(sync=True)
    scene = traitlets.Dict().tag(sync=True)
    status = traitlets.Dict().tag(sync=True)
    saved = traitlets.Dict().tag(sync=True)
    limit = traitlets.Int(MAX_BYTES).tag(sync=True)


class AttackExplorer(Explorer):
    """Attack images by hand: drag ε and see what networks decide, about one image or a class of them.

    Parameters
    ----------
    networks : mapping of name → nn.Module
        Trained on the classes of `images`; the first two are shown first. Of a mapping that loads when it is asked
        (`TrainedNetworks`) only what is shown is loaded.
    images : ImageSet
        To choose from.
    origin : Origin
        Where both come from, for the code that makes the same picture.
    order : sequence of str
        Regions, early to late: `Study.hierarchy`.
    title : str
        `Study.title`, shown above.
    levels : tuple of float
        ε in 1/255, ascending.
    attack, steps, seed
        Of the first attack, as in `attacks.perturb`.

    Raises
    ------
    InputError
        If networks and images are not of the same classes.

    Notes
    -----
    The first attack runs before the widget shows, later ones in the background. An attack is made at every ε at once
    and sent whole: ε then moves in the page alone. Results are kept.
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
        self.bench = Bench(networks, images, levels)
        first = tuple(networks)[:2]
        self.choice = Choice(str(images.ids[0]), first, attack, steps, level=levels[len(levels) // 2], seed=seed)
        self.bench.check(self.choice)
        self._origin, self._order = origin, order
        self._shown: Choice | None = None
        self._working: Choice | None = None
        self._background = Background(_running_loop())
        for name in self.bench.missing(self.choice):
            self.bench.compute(self.choice, name)
        self.lectern = Lectern(menu=menu(self.bench, order, title, origin.seed), thumbnails=thumbnails(images))
        self._say()
        self._draw()
        self.lectern.observe(self._chosen, "choice")
        self.lectern.on_msg(self._received)
        super().__init__([self.lectern], figures=False)
        self.add_class("nbtools-fills")

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
        self._set_choice()
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
        self.choice = self._shown or self.choice
        self._set_choice()

    def _chosen(self, change: dict[str, Any]) -> None:
        with self._complaints():
            with reading(
                "the page asks for no choice", ValueError, KeyError, TypeError, expected="one", fix="reload it"
            ):
                choice = read_choice(change["new"])
            if choice != self.choice:
                self.select(choice)

    def _received(self, _: Any, content: dict, buffers: list) -> None:
        """Take a wish to cancel, an address that was opened, or a file that was dropped: an image, or a saved state."""
        with self._complaints():
            if content.get("cancel"):
                self.cancel()
            elif "address" in content:
                self.select(read_address(str(content["address"]), self.choice))
            else:
                self._take(content, buffers)

    def _take(self, content: dict, buffers: list) -> None:
        name = PurePath(str(content.get("name") or "image").replace("\\", "/")).name[-80:]
        size = content.get("size")
        check_size(size if isinstance(size, int) else 0, name)  # the page sends no more than it may
        data = bytes(buffers[0]) if buffers else b""
        if name.lower().endswith(".json"):
            choice = load_state(self.bench, data.decode(errors="replace"))
        else:
            side = int(self.bench.images.pixels.shape[-1])
            own = self.bench.add_image(read_image(data, name, side), name)
            choice = replace(self.choice, image=own, tab=Choice.tab)
        self.lectern.thumbnails = thumbnails(self.bench.images)
        self.select(choice)

    # --- work -------------------------------------------------------------------------------------------------

    def _attack(self, choice: Choice) -> None:
        names = self.bench.missing(choice)
        self._working = choice

        def work(tick: Tick) -> None:
            for name in names:
                self.bench.compute(choice, name, tick)

        what = f"{len(self.bench.crowd(choice.target))} images" if choice.tab == CLASS else choice.image
        self._say(f"{choice.attack} on {what}: {' and '.join(names)} …")
        most = len(names) * (len(self.bench.levels) + 1) * (choice.steps + 2)
        self._progress(0, most)
        self._background.start(
            work, done=self._done, failed=self._failed, progress=lambda ticks: self._progress(ticks, most)
        )

    def _progress(self, ticks: int, most: int) -> None:
        self.lectern.status = {**self.lectern.status, "done": min(ticks, most), "most": most}

    def _done(self, _: None) -> None:
        self._idle()
        self._draw()

    def _failed(self, error: Exception) -> None:
        self.cancel()
        self._say(str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}", alert=True)

    def _idle(self, text: str = "") -> None:
        self._background.cancel()
        self._working = None
        self._say(text)

    # --- what the page is told --------------------------------------------------------------------------------

    def _draw(self) -> None:
        """Send the scene of what is chosen; where ε alone has moved, the page has drawn it already."""
        with self.lectern.hold_sync():
            if not self.choice.same_attacks(self._shown):
                self.lectern.scene = scene(self.bench, self.choice, self._order)
            self._set_choice()
            self.lectern.saved = {
                "code": as_code(self.bench, self.choice, self._origin),
                "state": save_state(self.bench, self.choice),
                "address": as_address(self.choice),
            }
        self._shown = self.choice

    def _set_choice(self) -> None:
        self.lectern.choice = asdict(self.choice) | {"networks": list(self.choice.networks)}

    def _say(self, text: str = "", *, alert: bool = False) -> None:
        self.lectern.status = {"text": text, "alert": alert, "done": 0, "most": 0}

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        """Show what is wrong with an input instead of failing, and go back to what is shown."""
        try:
            yield
        except InputError as error:
            self._set_choice()
            self._say(str(error), alert=True)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
