"""The rules that decide which rows of which drops are used, and how they are split and weighed."""

from dataclasses import dataclass
from datetime import datetime

from headlines.recorded import Recorded
from modules.features import LABELS
from modules.text import TextSettings

REFUSE_UNBALANCED, QUARANTINE_UNBALANCED = "refuse", "quarantine"
"""What becomes of a file in which the quotes of a row are not balanced, and of such a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules(Recorded):
    """See the settings of the same names.

    Attributes:
      label_codes: maps a code, in large or small letters, to a label's name.
      text_rules: the settings that decide how the model sees a title, and so which titles are one headline.
    """

    window_nights: int
    half_life_nights: float
    max_missing_nights: int
    label_codes: dict[str, str]
    max_title_characters: int
    unbalanced_quotes: str
    require_success_marker: bool
    drop_settle_seconds: float
    as_known_on: str
    eval_percent: int
    expected_class_mix: dict[str, float]
    text_rules: dict[str, bool]

    def __post_init__(self) -> None:
        wrong = {code: label for code, label in self.label_codes.items() if label not in LABELS}
        if wrong:
            raise ValueError(f"label_codes {wrong} name no label; the labels are {', '.join(LABELS)}")

    @property
    def text_settings(self) -> TextSettings:
        """How a title is normalised to what the model sees."""
        return TextSettings(**self.text_rules)

    @property
    def known_by(self) -> datetime | None:
        """The moment after which deliveries are not looked at; None for no such moment."""
        return datetime.fromisoformat(self.as_known_on) if self.as_known_on else None
