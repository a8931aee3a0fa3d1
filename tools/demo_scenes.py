"""The drawn scenes of the demo world: flat objects in eight colours before six settings, and words for them.

The colours come in four pairs that swapping the red and blue channels turns into each other, so that a
program which mixes up RGB and BGR finds the wrong scenes. `HELD_OUT` combinations are never drawn or named
in training: they show whether the model learned objects and colours, or a list of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]  # (height, width, 3) RGB
Points = npt.NDArray[np.float64]  # (n, 2) x to the right, y down, the object fills -1..1
Paint = tuple[int, int, int]

COLOURS: dict[str, Paint] = {
    "red": (215, 40, 30),
    "blue": (30, 40, 215),
    "orange": (250, 140, 15),
    "azure": (15, 140, 250),
    "yellow": (250, 230, 60),
    "cyan": (60, 230, 250),
    "pink": (255, 100, 175),
    "purple": (175, 100, 255),
}
SWAPPED = {
    "red": "blue", "blue": "red", "orange": "azure", "azure": "orange",
    "yellow": "cyan", "cyan": "yellow", "pink": "purple", "purple": "pink",
}  # fmt: skip
OBJECTS = (
    "car", "house", "boat", "flower", "balloon", "fish",
    "star", "umbrella", "tree", "cat", "bird", "cup",
)  # fmt: skip
SETTINGS = ("city", "night", "sea", "meadow", "snow", "desert")
HELD_OUT: tuple[tuple[str, str], ...] = (
    ("car", "red"), ("car", "blue"), ("house", "orange"), ("house", "azure"),
    ("boat", "yellow"), ("boat", "cyan"), ("flower", "pink"), ("flower", "purple"),
    ("balloon", "red"), ("balloon", "blue"), ("fish", "orange"), ("fish", "azure"),
    ("star", "yellow"), ("star", "cyan"), ("umbrella", "pink"), ("umbrella", "purple"),
    ("tree", "red"), ("tree", "blue"), ("cat", "orange"), ("cat", "azure"),
)  # fmt: skip

OBJECT_WORDS: dict[str, tuple[str, ...]] = {
    "car": ("car", "automobile", "vehicle", "auto", "cars"),
    "house": ("house", "home", "cottage", "hut", "houses"),
    "boat": ("boat", "sailboat", "ship", "sailing boat", "boats"),
    "flower": ("flower", "blossom", "bloom", "daisy", "flowers"),
    "balloon": ("balloon", "toy balloon", "party balloon", "air balloon", "balloons"),
    "fish": ("fish", "swimming fish", "fishes", "little fish", "fish with fins"),
    "star": ("star", "five pointed star", "star shape", "starlet", "stars"),
    "umbrella": ("umbrella", "parasol", "brolly", "open umbrella", "umbrellas"),
    "tree": ("tree", "leafy tree", "oak", "tree with a trunk", "trees"),
    "cat": ("cat", "kitten", "kitty", "face of a cat", "cats"),
    "bird": ("bird", "sparrow", "little bird", "songbird", "birds"),
    "cup": ("cup", "mug", "teacup", "coffee cup", "cups"),
}
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet"),
    "blue": ("blue", "dark blue", "deep blue"),
    "orange": ("orange", "tangerine", "amber"),
    "azure": ("azure", "sky blue", "light blue"),
    "yellow": ("yellow", "golden", "lemon yellow"),
    "cyan": ("cyan", "turquoise", "aqua"),
    "pink": ("pink", "rose", "bright pink"),
    "purple": ("purple", "violet", "lilac"),
}
SETTING_WORDS: dict[str, tuple[str, ...]] = {
    "city": ("in the city", "in a street", "in town", "in front of buildings", "on the road"),
    "night": ("at night", "by night", "in the dark", "under the moon", "in the moonlight"),
    "sea": ("at sea", "on the water", "by the sea", "in the ocean", "among the waves"),
    "meadow": ("in a meadow", "on the grass", "in a field", "on a green hill", "in the countryside"),
    "snow": ("in the snow", "in winter", "in a snowy landscape", "while it snows", "on white snow"),
    "desert": ("in the desert", "on the sand", "among the dunes", "in a sandy place", "on a dune"),
}
SETTING_NAMES: dict[str, tuple[str, ...]] = {
    "city": ("city", "street", "town", "city street"),
    "night": ("night", "night sky", "dark night", "moonlit night"),
    "sea": ("sea", "ocean", "water", "sea with waves"),
    "meadow": ("meadow", "grass", "green field", "countryside"),
    "snow": ("snow", "winter", "snowy landscape", "snowfall"),
    "desert": ("desert", "sand", "dunes", "sandy desert"),
}
LEADS = (
    "", "a photo of", "a picture of", "an image of", "a drawing of", "a frame showing", "a frame with",
    "a video of", "a clip of", "a scene with", "the scene with", "the moment with", "the part with",
    "show me", "find", "look for", "search for", "where is", "there is", "here is", "i see", "we see",
    "i want to see", "when do we see", "this is", "a cartoon of", "a view of", "a shot of", "close up of",
    "the frames that show", "an illustration of", "a painting of", "it shows", "can you find", "please find",
)  # fmt: skip
ADJECTIVES = (
    "small", "big", "little", "large", "nice", "pretty", "lovely", "bright", "simple", "single", "flat",
    "colourful", "beautiful", "moving", "new", "old", "tiny", "huge", "funny", "drawn",
)  # fmt: skip
TAILS = (
    "in the video", "in the picture", "on the screen", "in the middle", "in the centre", "please", "today",
    "seen from the side", "moving slowly", "in this film", "in the movie", "in the background", "in view",
    "for a few seconds", "with an outline", "somewhere", "with nothing else",
)  # fmt: skip

OUTLINE: Paint = (38, 34, 44)
LIGHT: Paint = (248, 246, 238)
BROWN: Paint = (120, 78, 48)
LEAF: Paint = (52, 130, 62)


@dataclass(frozen=True)
class Thing:
    """One object: where its centre lies from the frame's centre, and its half size, in frame heights."""

    kind: str
    colour: str
    paint: Paint
    x: float
    y: float
    size: float
    tilt_degrees: float
    mirrored: bool


@dataclass(frozen=True)
class Scene:
    """A setting, none to two objects in it, and the seed of the background's details."""

    setting: str
    things: tuple[Thing, ...]
    seed: int


@dataclass(frozen=True)
class Caption:
    """A text and the facts it states; None is unsaid."""

    text: str
    things: tuple[tuple[str | None, str | None], ...]  # (object, colour)
    setting: str | None


def seen_combinations() -> list[tuple[str, str]]:
    """The (object, colour) combinations that training may draw and name."""
    return [(kind, colour) for kind in OBJECTS for colour in COLOURS if (kind, colour) not in HELD_OUT]


def random_thing(rng: np.random.Generator, kind: str, colour: str, *, centre: float, room: float) -> Thing:
    """An object at a random place and size, its centre about `centre`, within `room` to either side."""
    size = room * rng.uniform(0.62, 0.95)
    slack = 0.46 - size
    red, green, blue = (
        int(np.clip(c * rng.uniform(0.94, 1.04) + rng.normal(0, 4), 0, 255)) for c in COLOURS[colour]
    )
    return Thing(
        kind=kind,
        colour=colour,
        paint=(red, green, blue),
        x=centre + rng.uniform(-1, 1) * (room - size + 0.04),
        y=rng.uniform(-slack, slack),
        size=size,
        tilt_degrees=rng.uniform(-10, 10),
        mirrored=bool(rng.random() < 0.5),
    )


def random_scene(rng: np.random.Generator, combinations: list[tuple[str, str]], setting: str) -> Scene:
    """A scene of these (object, colour) combinations, at most two, side by side."""
    seed = int(rng.integers(2**31))
    if len(combinations) == 2:
        side = 0.24 if rng.random() < 0.5 else -0.24
        places = [(side, 0.23), (-side, 0.23)]
    else:
        places = [(rng.uniform(-0.1, 0.1), 0.34)]
    things = tuple(
        random_thing(rng, kind, colour, centre=centre, room=room)
        for (kind, colour), (centre, room) in zip(combinations, places, strict=False)
    )
    return Scene(setting, things, seed)


def draw_scene(scene: Scene, *, width: int, height: int) -> Image:
    """The scene as an RGB picture; its objects lie in the central square."""
    image = draw_background(scene, width=width, height=height)
    draw_things(image, scene)
    return image


def draw_background(scene: Scene, *, width: int, height: int) -> Image:
    """The setting alone, (height, width, 3) RGB."""
    rng = np.random.default_rng(scene.seed)
    wide = width / height
    horizon = rng.uniform(0.55, 0.72)
    top, bottom, ground = _SKIES[scene.setting]
    fade = np.linspace(0, 1, height)[:, None, None]
    sky = np.clip(np.array(top) * (1 - fade) + np.array(bottom) * fade + rng.uniform(-8, 8), 0, 255)
    image: Image = np.broadcast_to(sky.astype(np.uint8), (height, width, 3)).copy()

    def fill(points: Points, paint: Paint) -> None:
        cv2.fillPoly(image, [_fixed(points * height)], paint, cv2.LINE_AA, 4)

    def hills(level: float, wave: float, paint: Paint) -> None:
        x = np.linspace(0, wide, 60)
        y = level + wave * np.sin(x * rng.uniform(2, 5) + rng.uniform(0, 6))
        fill(np.concatenate([np.stack([x, y], 1), [[wide, 1.0], [0.0, 1.0]]]), paint)

    def dots(n: int, low: float, high: float, paint: Paint) -> None:
        places = np.stack(
            [rng.uniform(0, wide, n), rng.uniform(low, high, n), rng.uniform(0.003, 0.009, n)], 1
        )
        for x, y, radius in _fixed(places * height).tolist():
            cv2.circle(image, (x, y), radius, paint, -1, cv2.LINE_AA, 4)

    if scene.setting == "city":
        x = -0.1
        while x < wide:
            broad, tall, grey = rng.uniform(0.12, 0.26), rng.uniform(0.15, 0.5), int(rng.integers(125, 175))
            fill(_box(x, horizon - tall, x + broad, horizon), (grey, grey, grey + 8))
            for row in np.arange(horizon - tall + 0.03, horizon - 0.04, 0.07):
                for column in np.arange(x + 0.02, x + broad - 0.03, 0.06):
                    fill(_box(column, row, column + 0.025, row + 0.035), (215, 215, 205))
            x += broad
        fill(_box(0, horizon, wide, 1), ground)
        for x in np.arange(rng.uniform(-0.2, 0), wide, 0.25):
            fill(_box(x, horizon + 0.16, x + 0.13, horizon + 0.18), LIGHT)
    elif scene.setting == "night":
        dots(int(70 * wide), 0, horizon, (235, 235, 220))
        fill(
            _ellipse(wide / 2 + rng.uniform(-0.42, 0.42), rng.uniform(0.08, 0.2), 0.065, 0.065),
            (240, 236, 205),
        )
        hills(horizon, 0.03, ground)
    elif scene.setting == "sea":
        fill(_box(0, horizon - 0.15, wide, 1), ground)
        for y in np.arange(horizon - 0.1, 1.0, 0.09):
            across = np.linspace(0, wide, int(90 * wide))
            line = np.stack([across, y + 0.012 * np.sin(across * 38 + rng.uniform(0, 6))], 1) * height
            cv2.polylines(
                image, [_fixed(line)], False, (190, 222, 232), max(1, height // 120), cv2.LINE_AA, 4
            )
    elif scene.setting == "meadow":
        hills(horizon, 0.05, (112, 176, 88))
        hills(horizon + 0.12, 0.04, ground)
        dots(int(50 * wide), horizon + 0.18, 1, (240, 240, 225))
    elif scene.setting == "snow":
        hills(horizon, 0.06, (222, 228, 236))
        hills(horizon + 0.13, 0.04, ground)
        dots(int(90 * wide), 0, 1, (255, 255, 255))
    else:
        hills(horizon, 0.06, (226, 190, 130))
        hills(horizon + 0.1, 0.05, ground)
        hills(horizon + 0.24, 0.04, (196, 150, 90))
    return image


def draw_things(image: Image, scene: Scene) -> None:
    """Draws the scene's objects onto its background, in place."""
    height, width = image.shape[:2]
    for thing in scene.things:
        turn = np.deg2rad(thing.tilt_degrees)
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        centre = np.array([width / 2 + thing.x * height, height / 2 + thing.y * height])
        mirror = np.array([-1.0 if thing.mirrored else 1.0, 1.0])
        parts = [
            (_fixed((points * mirror) @ rotation * thing.size * height + centre), _shade(paint, thing.paint))
            for points, paint in _PARTS[thing.kind]
        ]
        line = max(1, round(0.035 * thing.size * height))
        for points, _ in parts:
            cv2.polylines(image, [points], True, LIGHT, 4 * line, cv2.LINE_AA, 4)
        for points, paint in parts:
            cv2.fillPoly(image, [points], paint, cv2.LINE_AA, 4)
            cv2.polylines(image, [points], True, OUTLINE, line, cv2.LINE_AA, 4)


def random_caption(rng: np.random.Generator, scene: Scene) -> Caption:
    """A text that is true of the scene, in varied wording, stating all of it or a part."""
    setting = scene.setting if rng.random() < 0.4 or not scene.things else None
    things = list(scene.things)
    if len(things) == 2 and rng.random() < 0.5:
        things.reverse()
    if len(things) == 2 and rng.random() < 0.35:
        things = things[:1]
    if things and rng.random() < 0.08:
        things, setting = [], scene.setting
    stated: list[tuple[str | None, str | None]] = []
    phrases = []
    for thing in things:
        draw = rng.random()
        kind = None if draw < 0.06 else thing.kind
        colour = None if 0.06 <= draw < 0.18 else thing.colour
        stated.append((kind, colour))
        phrases.append(_phrase(rng, kind, colour))
    lead = str(rng.choice(LEADS)) if rng.random() < 0.6 else ""
    text = str(rng.choice([" and ", " with ", " next to ", ", ", " beside ", " and "])).join(phrases)
    if setting and phrases:
        where = _word(rng, SETTING_WORDS[setting])
        text = f"{where}, {text}" if rng.random() < 0.1 else f"{text} {where}"
    elif setting:
        name = _word(rng, SETTING_NAMES[setting])
        text = str(rng.choice([name, f"the {name}", f"a {name} scene", f"the {name} scene", f"the {name}"]))
    tail = str(rng.choice(TAILS)) if rng.random() < 0.12 else ""
    return Caption(" ".join(f"{lead} {text} {tail}".split()), tuple(stated), setting)


def describe(scene: Scene) -> str:
    """The plain caption of a scene: "a red car and a yellow bird at night"."""
    phrases = [f"{_article(thing.colour)} {thing.colour} {thing.kind}" for thing in scene.things]
    return f"{' and '.join(phrases)} {SETTING_WORDS[scene.setting][0]}"


def _phrase(rng: np.random.Generator, kind: str | None, colour: str | None) -> str:
    noun = "" if kind is None else _word(rng, OBJECT_WORDS[kind])
    hue = "" if colour is None else _word(rng, COLOUR_WORDS[colour])
    adjective = str(rng.choice(ADJECTIVES)) if rng.random() < 0.15 else ""
    if not noun:
        return str(rng.choice([hue, f"something {hue}", f"a {hue} thing", f"{hue} colour", f"{hue} things"]))
    if hue and rng.random() < 0.12:
        return str(
            rng.choice(
                [f"a {adjective} {noun} that is {hue}", f"a {noun} in {hue}", f"a {hue} coloured {noun}"]
            )
        )
    words = f"{adjective} {hue} {noun}" if rng.random() < 0.8 else f"{hue} {adjective} {noun}"
    article = (
        str(rng.choice(["", "the", "this", "one", "some"]))
        if rng.random() < 0.45
        else _article(words.strip())
    )
    return f"{article} {words}"


def _word(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[0] if rng.random() < 0.6 else str(rng.choice(words))


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _fixed(points: Points) -> npt.NDArray[np.int32]:
    return np.round(points * 16).astype(np.int32)  # four fractional bits, OpenCV's shift=4


def _shade(paint: Paint | float, own: Paint) -> Paint:
    if isinstance(paint, tuple):
        return paint
    return (int(own[0] * paint), int(own[1] * paint), int(own[2] * paint))


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _polygon(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=float)


def _ellipse(
    x: float, y: float, across: float, down: float, *, start: float = 0, stop: float = 360, n: int = 40
) -> Points:
    turn = np.deg2rad(np.linspace(start, stop, n, endpoint=stop - start < 360))
    return np.stack([x + across * np.cos(turn), y + down * np.sin(turn)], 1)


def _petals() -> list[tuple[Points, Paint | float]]:
    turns = np.deg2rad(np.arange(0, 360, 60))
    return [(_ellipse(0.42 * np.cos(t), -0.3 + 0.42 * np.sin(t), 0.29, 0.29), 1.0) for t in turns]


def _star() -> Points:
    turns = np.deg2rad(np.arange(10) * 36 - 90)
    reach = np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
    return np.stack([reach * np.cos(turns), reach * np.sin(turns)], 1)


_SKIES: dict[str, tuple[Paint, Paint, Paint]] = {  # sky above, sky below, ground
    "city": ((188, 212, 232), (222, 230, 236), (92, 92, 98)),
    "night": ((10, 12, 38), (28, 32, 74), (18, 24, 28)),
    "sea": ((196, 222, 240), (228, 238, 242), (28, 96, 140)),
    "meadow": ((150, 200, 236), (214, 234, 240), (84, 150, 66)),
    "snow": ((176, 186, 202), (210, 216, 226), (244, 247, 250)),
    "desert": ((240, 216, 176), (250, 236, 208), (212, 168, 104)),
}
_PARTS: dict[str, list[tuple[Points, Paint | float]]] = {  # a number shades the object's own colour
    "car": [
        (_polygon((-0.55, 0.05), (-0.35, -0.42), (0.3, -0.42), (0.6, 0.05)), 1.0),
        (_polygon((-1, 0.45), (-0.98, 0.08), (-0.6, 0), (0.6, 0), (0.95, 0.12), (1, 0.45)), 1.0),
        (_polygon((-0.42, 0), (-0.28, -0.32), (-0.04, -0.32), (-0.04, 0)), LIGHT),
        (_polygon((0.06, 0), (0.06, -0.32), (0.25, -0.32), (0.45, 0)), LIGHT),
        (_ellipse(-0.55, 0.45, 0.23, 0.23), OUTLINE), (_ellipse(0.55, 0.45, 0.23, 0.23), OUTLINE),
        (_ellipse(-0.55, 0.45, 0.09, 0.09), LIGHT), (_ellipse(0.55, 0.45, 0.09, 0.09), LIGHT),
    ],
    "house": [
        (_box(-0.7, -0.15, 0.7, 0.9), 1.0),
        (_polygon((-0.95, -0.12), (0, -0.95), (0.95, -0.12)), 0.72),
        (_box(-0.16, 0.3, 0.16, 0.9), BROWN),
        (_box(-0.52, 0.12, -0.28, 0.42), LIGHT), (_box(0.28, 0.12, 0.52, 0.42), LIGHT),
    ],
    "boat": [
        (_box(-0.05, -0.95, 0.04, 0.4), BROWN),
        (_polygon((0.1, -0.9), (0.85, 0.28), (0.1, 0.28)), 1.0),
        (_polygon((-0.12, -0.65), (-0.12, 0.28), (-0.68, 0.28)), 0.85),
        (_polygon((-0.95, 0.4), (0.95, 0.4), (0.65, 0.85), (-0.65, 0.85)), 1.0),
    ],
    "flower": [
        (_box(-0.05, 0, 0.05, 1), LEAF),
        (_ellipse(0.26, 0.66, 0.24, 0.11), LEAF), (_ellipse(-0.26, 0.76, 0.24, 0.11), LEAF),
        *_petals(), (_ellipse(0, -0.3, 0.22, 0.22), BROWN),
    ],
    "balloon": [
        (_box(-0.02, 0.4, 0.02, 1), OUTLINE),
        (_polygon((0, 0.34), (-0.13, 0.52), (0.13, 0.52)), 0.8),
        (_ellipse(0, -0.3, 0.6, 0.7), 1.0), (_ellipse(-0.22, -0.52, 0.1, 0.17), LIGHT),
    ],
    "fish": [
        (_polygon((0.45, 0), (0.98, -0.45), (0.98, 0.45)), 0.85),
        (_polygon((-0.2, -0.35), (0.2, -0.7), (0.35, -0.25)), 0.85),
        (_ellipse(-0.15, 0, 0.8, 0.46), 1.0),
        (_polygon((0, 0.05), (0.35, 0.28), (0.02, 0.3)), 0.8),
        (_ellipse(-0.55, -0.1, 0.12, 0.12), LIGHT), (_ellipse(-0.57, -0.1, 0.05, 0.05), OUTLINE),
    ],
    "star": [(_star(), 1.0)],
    "umbrella": [
        (_box(-0.04, -0.3, 0.04, 0.82), OUTLINE), (_box(-0.04, 0.78, 0.3, 0.88), OUTLINE),
        (_box(0.22, 0.62, 0.3, 0.88), OUTLINE),
        (_ellipse(0, 0.12, 0.98, 0.98, start=180, stop=359), 1.0),
        (_ellipse(0, 0.12, 0.36, 0.98, start=180, stop=359), 0.82),
    ],
    "tree": [
        (_box(-0.14, 0.1, 0.14, 0.98), BROWN),
        (_ellipse(-0.4, 0.02, 0.42, 0.4), 1.0), (_ellipse(0.4, 0.02, 0.42, 0.4), 1.0),
        (_ellipse(0, -0.45, 0.52, 0.5), 1.0), (_ellipse(0, 0, 0.34, 0.3), 0.92),
    ],
    "cat": [
        (_polygon((-0.82, -0.95), (-0.78, 0), (-0.15, -0.55)), 1.0),
        (_polygon((0.82, -0.95), (0.78, 0), (0.15, -0.55)), 1.0),
        (_ellipse(0, 0.12, 0.86, 0.74), 1.0),
        (_ellipse(-0.34, -0.02, 0.17, 0.2), LIGHT), (_ellipse(0.34, -0.02, 0.17, 0.2), LIGHT),
        (_ellipse(-0.34, 0, 0.05, 0.15), OUTLINE), (_ellipse(0.34, 0, 0.05, 0.15), OUTLINE),
        (_polygon((-0.1, 0.25), (0.1, 0.25), (0, 0.38)), OUTLINE),
        (_polygon((-0.15, 0.4), (-0.9, 0.3), (-0.15, 0.42)), OUTLINE),
        (_polygon((0.15, 0.4), (0.9, 0.3), (0.15, 0.42)), OUTLINE),
        (_polygon((-0.15, 0.46), (-0.9, 0.55), (-0.15, 0.48)), OUTLINE),
        (_polygon((0.15, 0.46), (0.9, 0.55), (0.15, 0.48)), OUTLINE),
    ],
    "bird": [
        (_box(-0.14, 0.5, -0.09, 0.95), OUTLINE), (_box(0.1, 0.5, 0.15, 0.95), OUTLINE),
        (_polygon((0.4, 0.1), (1, -0.22), (0.95, 0.25)), 0.85),
        (_polygon((-0.72, -0.5), (-1, -0.36), (-0.7, -0.28)), BROWN),
        (_ellipse(0.02, 0.18, 0.62, 0.42), 1.0), (_ellipse(-0.46, -0.4, 0.34, 0.33), 1.0),
        (_polygon((-0.2, 0.05), (0.45, 0), (0.3, 0.42)), 0.75),
        (_ellipse(-0.54, -0.46, 0.08, 0.08), LIGHT), (_ellipse(-0.55, -0.46, 0.035, 0.035), OUTLINE),
    ],
    "cup": [
        (_ellipse(0.55, 0.05, 0.38, 0.38), 1.0), (_ellipse(0.55, 0.05, 0.2, 0.2), LIGHT),
        (_polygon((-0.7, -0.5), (0.55, -0.5), (0.4, 0.7), (-0.55, 0.7)), 1.0),
        (_ellipse(-0.07, -0.5, 0.63, 0.14), 0.6),
        (_ellipse(-0.07, 0.8, 0.85, 0.12), LIGHT),
    ],
}  # fmt: skip
