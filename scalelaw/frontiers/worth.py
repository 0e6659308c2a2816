"""Worth: what twice the unique images would buy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class FormGain:
    """What one form of repetition says of twice the unique images.

    Attributes:
        form: repetition or overfit.
        log_gain: ln loss less ln loss with twice the unique images.
        low, high: its interval; None for an open or unknown end.
    """

    form: str
    log_gain: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Worth:
    """Loss with U unique images and with 2 U, at the same size and as many images seen: at the same compute.

    Attributes:
        N, D, U: size, images seen, unique images.
        loss: with U unique images, in nats.
        log_gain: ln loss less ln loss with 2 U.
        log_gain_low, log_gain_high: its interval; None for an open or unknown end, and where nothing is repeated: the
            laws then say 0 by their form, which no run has tested.
        beyond: sentences on how far this lies beyond the runs.
        forms: each form that nothing rejects, by itself; the interval holds theirs.
        left_out: a form that the residuals reject and the back-test does not, without an interval.
    """

    N: float
    D: float
    U: float
    loss: float
    log_gain: float
    log_gain_low: float | None
    log_gain_high: float | None
    beyond: tuple[str, ...]
    forms: tuple[FormGain, ...] = ()
    left_out: tuple[FormGain, ...] = ()

    @property
    def epochs(self) -> float:
        """Passes over the unique images."""
        return self.D / self.U

    @property
    def gain(self) -> float:
        """By how much the loss falls, in nats."""
        return self._nats(self.log_gain)

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """Of `gain`: ends of the share that is saved times the loss, taken as known."""
        low, high = self.log_gain_low, self.log_gain_high
        return None if low is None else self._nats(low), None if high is None else self._nats(high)

    def _nats(self, log_gain: float) -> float:
        return float(-self.loss * np.expm1(-log_gain))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, None for what is unknown; gains in nats, shares of the loss beside them."""
        shares = [_share(end) for end in (self.log_gain_low, self.log_gain_high)]
        return {
            "size": self.N,
            "images": self.D,
            "unique_images": self.U,
            "epochs": self.epochs,
            "loss": self.loss,
            "loss_doubled": self.loss - self.gain,
            "gain": self.gain,
            "gain_interval": list(self.interval),
            "share": _share(self.log_gain),
            "share_interval": shares,
            "forms": [
                {"form": one.form, "share": _share(one.log_gain), "share_interval": [_share(one.low), _share(one.high)]}
                for one in self.forms
            ],
            "left_out": [{"form": one.form, "share": _share(one.log_gain)} for one in self.left_out],
            "warnings": list(self.beyond),
        }

    def __str__(self) -> str:
        low, high = ("open" if end is None else f"{end:.4f}" for end in self.interval)
        if self.D <= self.U:
            return f"twice the unique images would buy nothing: {self.epochs:.3g} epochs repeat none"
        text = (
            f"{2 * self.U:,.0f} unique images for {self.U:,.0f} would lower the loss by {self.gain:.4f} ({low} to "
            f"{high}), {_percent(self.log_gain, self.log_gain_low, self.log_gain_high)}, at the same compute, "
            f"{self.epochs:.3g} epochs becoming {self.epochs / 2:.3g}."
        )
        each = [f"by {one.form} {_percent(one.log_gain, one.low, one.high)}" for one in self.forms]
        forms = [f"Two forms stand: {', '.join(each)}."] if len(each) > 1 else []
        forms += [
            f"By {one.form}, which misses the runs by more, it would be {100 * (_share(one.log_gain) or 0.0):.1f} %."
            for one in self.left_out
        ]
        return " ".join([text, *forms, *self.beyond])


def _share(log_gain: float | None) -> float | None:
    """Of the loss, that a gain saves."""
    return None if log_gain is None else float(-np.expm1(-log_gain))


def _percent(log_gain: float, low: float | None, high: float | None) -> str:
    ends = ("open" if share is None else f"{100 * share:.1f}" for share in (_share(low), _share(high)))
    return f"{100 * (_share(log_gain) or 0.0):.1f} % ({' to '.join(ends)})"
