"""Every number that training may vary, in one frozen object.

Nothing here may import tensorflow: tuning and documentation read it too.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from modules.errors import ModellingError


@dataclasses.dataclass(frozen=True)
class Hyperparameters:
    """What training may vary.

    The defaults were chosen on the first five of twelve nights of real headlines: trained on each, tested on the next.

    Attributes:
      embedding_size: width of the token embeddings and of the Transformer blocks.
      attention_heads: heads of the self-attention; must divide `embedding_size`.
      feed_forward_size: width of the hidden layer inside a Transformer block.
      blocks: number of Transformer blocks.
      embedding_dropout: share of the embedded title dropped in training.
      dropout: share of units dropped in each block and before the softmax.
      inverse_l2: how freely the wide path fits: its sum of losses per unit of squared L2 norm of its weights.
      vector_scale: length of a title's mean word vector beside that of its n-grams, which is 1.
      transformer_share: what the Transformer's probabilities count beside those of the wide path, from 0 to 1.
      epochs: passes over the training rows.
      min_steps: where so few rows are given that `epochs` makes fewer steps, there are more epochs.
      batch_size: rows per step.
      learning_rate: peak of the schedule.
      warmup_share: share of all steps in which the learning rate rises to its peak; then it falls as a cosine.
      weight_decay: decoupled weight decay of AdamW; biases and normalisation are exempt.
      clip_norm: largest global norm of a gradient.
      label_smoothing: share of each label's mass spread over all classes.
      ema_momentum: momentum of the average of weights that is exported; 0 exports the last weights.
      validation_percent: percent of the training titles, by stable hash, withheld from the Transformer: each epoch is
        measured on them, and a temperature can be fitted to them.
      calibrate: divide the logits by that temperature. Off: past titles are harder than tonight's, so it makes the
        model too unsure (docs/experiments.md).
      logit_adjustment: how much of the classes' log shares in training is taken off the logits before the label is
        chosen, in favour of rare classes; 0 chooses the likeliest class, 1 as if all were equally frequent.
    """

    embedding_size: int = 32
    attention_heads: int = 2
    feed_forward_size: int = 64
    blocks: int = 1
    embedding_dropout: float = 0.5
    dropout: float = 0.3
    inverse_l2: float = 4.0
    vector_scale: float = 0.7
    transformer_share: float = 0.35
    epochs: int = 10
    min_steps: int = 300
    batch_size: int = 64
    learning_rate: float = 7e-4
    warmup_share: float = 0.1
    weight_decay: float = 0.02
    clip_norm: float = 1.0
    label_smoothing: float = 0.05
    ema_momentum: float = 0.98
    validation_percent: int = 10
    calibrate: bool = False
    logit_adjustment: float = 0.2

    def __post_init__(self) -> None:
        if self.embedding_size % self.attention_heads:
            raise ModellingError(
                f"embedding_size={self.embedding_size} is not a multiple of attention_heads={self.attention_heads}"
            )
        if self.calibrate and not self.validation_percent:
            raise ModellingError(
                "validation_percent=0 leaves nothing to calibrate on; raise it, or set calibrate=false"
            )

    @classmethod
    def from_overrides(cls, overrides: Mapping[str, Any] | None) -> Self:
        """The defaults with `overrides`.

        Raises:
          ModellingError: an override is unknown, of the wrong type, or does not fit the others; the message names it.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values = dict(overrides or {})
        for name, value in values.items():
            if name not in fields:
                raise ModellingError(f"unknown hyperparameter {name!r}; known are {', '.join(fields)}")
            wanted = type(fields[name].default)
            if wanted is float and type(value) is int:
                values[name] = float(value)
            elif type(value) is not wanted:
                raise ModellingError(f"hyperparameter {name}={value!r} must be {wanted.__name__}")
        return cls(**values)

    @classmethod
    def choose(cls, overrides: Mapping[str, Any] | None, tuned: Mapping[str, Any] | None) -> tuple[Self, str]:
        """The defaults with `tuned` and, on top of them, `overrides`.

        Tuned ones were found for the code of their night. Where they do not fit today's, all of them are left out: its
        defaults belong together, and half of a tuned combination is none.

        Returns:
          The hyperparameters, and why the tuned ones were left out, empty if they were not.

        Raises:
          ModellingError: an override is wrong.
        """
        without = cls.from_overrides(overrides)
        try:
            return cls.from_overrides({**(tuned or {}), **(overrides or {})}), ""
        except ValueError as error:
            return without, str(error)
