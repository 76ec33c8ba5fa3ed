"""A Gaussian process: what is expected of trials that were not run, and how surely."""

import warnings
from typing import Any

import numpy as np

_TUNED_ON = 300  # rows that the kernel's length scales are fitted to; the process has all of them
_MEMBERS = 16  # of an ensemble that stands for what is expected


class GaussianProcess:
    """A Gaussian process with a length scale for each input, and noise.

    Args:
        rows: Inputs, a row for each trial.
        values: What was found, one number for each row.
        kernel: That of an earlier process; None fits one to the values.
    """

    def __init__(self, rows: np.ndarray, values: np.ndarray, kernel: Any = None) -> None:
        from sklearn.gaussian_process import GaussianProcessRegressor  # slow to import

        self.kernel = _tuned_kernel(rows, values) if kernel is None else kernel
        self._process = GaussianProcessRegressor(self.kernel, optimizer=None, normalize_y=True)
        self._process.fit(rows, values)
        self._noise = self.kernel.k2.noise_level * values.var()

    def mean(self, rows: np.ndarray) -> np.ndarray:
        """Returns what is expected of each row."""
        return self._process.predict(rows)

    def members(self, rows: np.ndarray) -> np.ndarray:
        """Returns equally likely values for each row, a line for each member of an ensemble.

        They are spread as the process is unsure of what lies behind the noise.
        """
        from scipy.stats import norm

        mean, deviation = self._process.predict(rows, return_std=True)
        deviation = np.sqrt(np.maximum(deviation**2 - self._noise, 0.0))
        quantiles = norm.ppf((np.arange(_MEMBERS) + 0.5) / _MEMBERS)
        return mean + quantiles[:, None] * deviation


def _tuned_kernel(rows: np.ndarray, values: np.ndarray) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel(1.0, (0.1, 10.0)) * Matern(
        np.ones(rows.shape[1]), (0.1, 10.0), nu=2.5
    ) + WhiteKernel(0.05, (1e-6, 1.0))
    process = GaussianProcessRegressor(kernel, normalize_y=True)
    some = np.random.default_rng(0).permutation(len(rows))[:_TUNED_ON]
    # it warns of a scale at its bound: that input does not matter
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        return process.fit(rows[some], values[some]).kernel_
