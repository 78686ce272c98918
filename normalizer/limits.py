"""Bounds of a group's numbers: held at the ends of a range, or marked when beyond a limit."""

from typing import Any

import numpy as np
import numpy.typing as npt

from common.records import Plan, Quality


class Limits:
    """Of every column of one plan; costs nothing for a plan without any."""

    def __init__(self, plan: Plan) -> None:
        self._least = np.array([column.minimum for column in plan.columns])
        self._most = np.array([column.maximum for column in plan.columns])
        self._clamp_low = np.array([column.clamp_low for column in plan.columns])
        self._clamp_high = np.array([column.clamp_high for column in plan.columns])
        self._clamped = np.isfinite(self._clamp_low) | np.isfinite(self._clamp_high)
        self._bounded = (
            self._clamped | np.isfinite(self._least) | np.isfinite(self._most)
        )  # fmt: skip
        self._any = bool(self._bounded.any())

    def apply(
        self,
        array: Any,
        of_type: npt.NDArray[np.uint16],
        places: npt.NDArray[Any],
        qualities: npt.NDArray[np.uint32],
        nulls: npt.NDArray[np.bool_],
    ) -> Any:
        """Return the array with what is clamped held; Good values beyond a bound turn Uncertain.

        `array[i]` is the number of plan column `of_type[i]`, and stands at `places[i]` of the scan.
        """
        if not self._any or not self._bounded[of_type].any():
            return array
        low, high = self._clamp_low[of_type], self._clamp_high[of_type]
        beyond = (array < np.maximum(low, self._least[of_type])) | (
            array > np.minimum(high, self._most[of_type])
        )
        if not beyond.any():
            return array
        marked = places[beyond]
        marked = marked[(qualities[marked] == Quality.GOOD) & ~nulls[marked]]
        qualities[marked] = Quality.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED
        return np.clip(array, low, high) if self._clamped[of_type].any() else array
