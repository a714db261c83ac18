"""A canvas for drawn pictures of the inside of a tube: tissue, folds, bumps, light, black border."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Plane = NDArray[np.floating]
"""(h, w) float32 (NumPy's types, not NumPy, would widen its product with a Python number)."""

Colour = tuple[float, float, float]
"""Red, green, blue, 0 to 1."""

SIZES = ((720, 576), (720, 576), (768, 576), (704, 560))
"""Width and height in pixels; the first is Kvasir's most frequent. Scenes are painted at half of it."""

LABEL = "drawn, not endoscopy"

DEEP: Colour = (0.13, 0.03, 0.03)
"""Where no light comes back from."""


@dataclass
class Scene:
    """A picture in the making: x and y run from the middle, y from -1 to 1; rgb is (3, h, w)."""

    rng: np.random.Generator
    x: Plane
    y: Plane
    rgb: NDArray[np.float32]

    @classmethod
    def blank(cls, rng: np.random.Generator) -> Scene:
        """An empty picture, whose randomness all comes from `rng`."""
        width, height = (side // 2 for side in SIZES[rng.integers(len(SIZES))])
        right = width / height
        y, x = np.mgrid[-1 : 1 : height * 1j, -right : right : width * 1j].astype(np.float32)
        return cls(rng, x, y, np.zeros((3, height, width), np.float32))

    def between(self, low: float, high: float) -> float:
        """A random number between two."""
        return float(self.rng.uniform(low, high))

    def place(self, spread: float) -> tuple[float, float]:
        """A point not farther than `spread` from the middle."""
        angle, radius = self.between(0, 2 * np.pi), spread * self.between(0.2, 1) ** 0.5
        return radius * np.cos(angle), radius * np.sin(angle)

    def noise(self, cells: int) -> Plane:
        """Soft noise from -1 to 1, `cells` bumps high."""
        height, width = self.x.shape
        grid = self.rng.uniform(-1, 1, (cells, cells * width // height)).astype(np.float32)
        return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))

    def polar(self, x: float, y: float, squash: float = 1.0, turn: float = 0.0) -> tuple[Plane, Plane]:
        """Radius and angle about a point; the circles are squashed to ellipses and turned."""
        u, v = self._about(x, y, squash, turn)
        return np.sqrt(u * u + v * v), np.arctan2(v, u)

    def radius(self, x: float, y: float, squash: float = 1.0, turn: float = 0.0) -> Plane:
        """The radius alone, at a fraction of the cost."""
        u, v = self._about(x, y, squash, turn)
        return np.sqrt(u * u + v * v)

    def _about(self, x: float, y: float, squash: float, turn: float) -> tuple[Plane, Plane]:
        dx, dy = self.x - np.float32(x), self.y - np.float32(y)
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        return dx * cos + dy * sin, (dy * cos - dx * sin) / np.float32(squash)

    def wobble(self, angle: Plane, waves: int, amount: float, lowest: int = 2) -> Plane:
        """A closed curve's departure from a circle: a few waves of random phase, higher ones smaller."""
        total = np.zeros_like(angle)
        for wave in range(lowest, lowest + waves):
            total += np.float32(self.between(0.4, 1) / wave**0.7) * np.sin(
                np.float32(wave) * angle + np.float32(self.between(0, 7))
            )
        return total * np.float32(amount)

    def paint(self, colour: Colour, mask: Plane) -> None:
        """Lay a colour over the picture, as thick as the mask (0 to 1)."""
        for plane, value in zip(self.rgb, colour, strict=True):
            plane += (np.float32(value) - plane) * mask

    def shade(self, factor: Plane) -> None:
        """Multiply with light (above 1) or shadow (below 1); shadows turn red, as tissue's do."""
        self.rgb[0] *= factor
        self.rgb[1:] *= factor * (np.float32(0.85) + np.float32(0.15) * factor)

    def tissue(self, colour: Colour, blotches: float = 0.06) -> None:
        """Fill with mucosa: a colour that varies from picture to picture and, softly, from place to place."""
        shift = self.rng.normal(0, 0.025, 3) + self.rng.normal(0, 0.03)
        large, fine = self.noise(4), self.noise(22)
        for plane, value, drift in zip(self.rgb, colour, shift, strict=True):
            plane[:] = value + drift
        self.shade(1 + np.float32(blotches) * large + np.float32(blotches / 2) * fine)

    def vessels(self, count: int, colour: Colour = (0.66, 0.16, 0.14), strength: float = 0.35) -> None:
        """Fine branching lines."""
        height, width = self.x.shape
        lines = Image.new("L", (width, height))
        pen = ImageDraw.Draw(lines)
        for _ in range(count):
            x, y, angle = self.between(0, width), self.between(0, height), self.between(0, 7)
            for thickness in (2, 2, 1, 1, 1, 1, 1):
                angle += self.between(-0.6, 0.6)
                for branch in (angle, angle + self.between(0.5, 1.0))[: 3 - thickness]:
                    end = (x + 17 * np.cos(branch), y + 17 * np.sin(branch))
                    pen.line([(x, y), end], fill=int(255 * strength), width=thickness)
                x, y = x + 17 * np.cos(angle), y + 17 * np.sin(angle)
        self.paint(colour, np.asarray(lines, np.float32) / 255)

    def tunnel(self, x: float, y: float, mouth: float, folds: float = 0.5, depth: float = 0.55) -> None:
        """A tube that is looked into: a dark mouth, rings of folds about it, light falling off inwards."""
        radius, angle = self.polar(x, y, self.between(0.8, 1.0), self.between(0, 3))
        radius = radius * (1 + self.wobble(angle, 3, 0.10)) + np.float32(1e-3)
        rings = np.log(radius / np.float32(mouth)) / np.float32(self.between(0.42, 0.55))
        rings = rings + self.wobble(angle, 3, 0.12)
        part = rings - np.floor(rings)
        crease = np.exp(-((part * 6) ** 2)) + np.exp(-(((1 - part) * 16) ** 2))
        ridge = np.exp(-(((part - 0.42) * 4) ** 2))
        outside = step(mouth * 0.9, mouth * 1.5, radius)
        self.shade(1 + outside * np.float32(folds) * (0.28 * ridge - 0.62 * crease))
        self.shade(1 - np.float32(depth) * (1 - step(0, 1.1, radius)))
        self.paint(DEEP, 0.94 * (1 - step(mouth * 0.45, mouth * 1.35, radius)))

    def mound(self, x: float, y: float, size: float, colour: Colour, squash: float = 0.85, blend: float = 1) -> None:
        """Something round that stands out of the wall: shadow beneath, rounded shading, a drawn outline."""
        turn = self.between(0, 3)
        under = self.radius(x + 0.18 * size, y + 0.24 * size, squash, turn)
        self.shade(1 - 0.45 * (1 - step(size * 0.8, size * 1.45, under)))
        radius, angle = self.polar(x, y, squash, turn)
        radius = radius * (1 + self.wobble(angle, 3, 0.07)) / np.float32(size)
        inside = 1 - step(0.97, 1.0, radius)
        self.paint(colour, np.float32(blend) * inside)
        light = (self.x - np.float32(x)) * 0.55 + (self.y - np.float32(y)) * 0.8
        rounded = np.sqrt(np.clip(1 - radius**2, 0, 1))
        self.shade(1 + inside * (0.62 * rounded - 0.34 - 0.22 * light / np.float32(size)))
        self.paint((0.36, 0.06, 0.07), 0.55 * inside * step(0.90, 0.985, radius))
        glint = self.radius(x - 0.30 * size, y - 0.38 * size, 0.6, 2.4)
        self.paint((1, 0.97, 0.93), 0.85 * (1 - step(0.05 * size, 0.17 * size, glint)))

    def glints(self, count: int) -> None:
        """Small reflections of the light, as wet surfaces have."""
        for _ in range(count):
            x, y = self.place(0.9)
            radius = self.radius(x, y, self.between(0.3, 0.7), self.between(0, 3))
            size = self.between(0.012, 0.03)
            self.paint((1, 0.97, 0.94), 0.8 * (1 - step(size * 0.5, size, radius)))


def step(low: float, high: float, value: Plane) -> Plane:
    """0 below `low`, 1 above `high`, smooth between."""
    part: Plane = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return part * part * (3 - 2 * part)


def framed(scene: Scene) -> Image.Image:
    """Add the lamp's falling off, for two in three the black border of the device, and the label."""
    lamp = scene.radius(*scene.place(0.3))
    scene.shade(1.1 - 0.42 * step(0.5, 1.6, lamp))
    pixels = np.clip(scene.rgb * 255 + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture = picture.resize((2 * picture.width, 2 * picture.height), Image.Resampling.BICUBIC)
    if scene.rng.random() < 2 / 3:
        picture = _bordered(picture, scene)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)
    pen.text((10, picture.height - 24), LABEL, (235, 235, 235), font, stroke_width=2, stroke_fill=(20, 20, 20))
    return picture


def _bordered(picture: Image.Image, scene: Scene) -> Image.Image:
    """The picture inside an octagon, black around it."""
    width, height = picture.size
    left, top, corner = (scene.between(low, high) * height for low, high in ((0.01, 0.06), (0.01, 0.025), (0.12, 0.2)))
    right, bottom = width - left, height - top
    octagon = [(left + corner, top), (right - corner, top), (right, top + corner), (right, bottom - corner)]
    octagon += [
        (right - corner, bottom),
        (left + corner, bottom),
        (left, bottom - corner),
        (left, top + corner),
    ]
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).polygon(octagon, fill=255)
    return Image.composite(picture, Image.new("RGB", picture.size, (5, 5, 5)), mask)
