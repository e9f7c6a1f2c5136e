import re
from collections.abc import Callable
from pathlib import Path

import pytest

STYLE = Path(__file__).resolve().parents[2] / "plugins" / "static" / "headlines" / "headlines.css"


Colour = list[float]

# Airflow's dark scheme, from its airflowDefaultTheme.css: invert(100%) hue-rotate(180deg) saturate(90%) contrast(85%).
# The matrices are those of the Filter Effects module, section "Filter Primitive <feColorMatrix>".
HUE_ROTATE = [[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]]
SATURATE = [[0.9213, 0.0715, 0.0072], [0.0213, 0.9715, 0.0072], [0.0213, 0.0715, 0.9072]]


def parse(colour: str) -> Colour:
    digits = colour.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    return [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]


def show_light(colour: Colour) -> Colour:
    return colour


def show_dark(colour: Colour) -> Colour:
    shown = [1 - part for part in colour]
    for matrix in (HUE_ROTATE, SATURATE):
        sums = [sum(weight * part for weight, part in zip(row, shown, strict=True)) for row in matrix]
        shown = [min(1.0, max(0.0, part)) for part in sums]
    return [(part - 0.5) * 0.85 + 0.5 for part in shown]


def luminance(colour: Colour) -> float:
    """As WCAG 2 defines it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [show_light, show_dark])
def test_every_text_has_the_contrast_that_the_style_promises(scheme: Callable[[Colour], Colour]) -> None:
    style = STYLE.read_text()
    named = dict(re.findall(r"(--\w+): (#\w+)", style))
    seen = 0
    for selector, rule in re.findall(r"([^{}]+)\{([^{}]*)\}", style):
        own = dict(re.findall(r"(?:^|[;\s])(color|background): (#\w+|var\(--\w+\))", rule))
        if "color" in own:
            text, behind = (named.get(one[4:-1], one) for one in (own["color"], own.get("background", "#fff")))
            dark, light = sorted(luminance(scheme(parse(one))) for one in (text, behind))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, selector
            seen += 1
    assert seen > 10
