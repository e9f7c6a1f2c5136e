import re
from pathlib import Path

STYLE = Path(__file__).resolve().parents[2] / "plugins" / "static" / "headlines" / "headlines.css"


def luminance(colour: str) -> float:
    """As WCAG 2 defines it."""
    digits = colour.removeprefix("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_text_has_the_contrast_that_the_style_promises() -> None:
    style = STYLE.read_text()
    named = dict(re.findall(r"(--\w+): (#\w+)", style))
    seen = 0
    for selector, rule in re.findall(r"([^{}]+)\{([^{}]*)\}", style):
        own = dict(re.findall(r"(?:^|[;\s])(color|background): (#\w+|var\(--\w+\))", rule))
        if "color" in own:
            text, behind = (named.get(one[4:-1], one) for one in (own["color"], own.get("background", "#fff")))
            dark, light = sorted((luminance(text), luminance(behind)))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, selector
            seen += 1
    assert seen > 10
