"""What units tell about something else that occurs with them."""

import numpy as np

__all__ = ["pointwise_information", "typical_units"]


def pointwise_information(counts: np.ndarray) -> np.ndarray:
    """Pointwise mutual information (N, K) of rows and columns in nats, of counts above 0."""
    joint = counts / counts.sum()
    expected = joint.sum(1, keepdims=True) * joint.sum(0)
    return np.log(joint / expected)


def typical_units(counts: np.ndarray) -> np.ndarray:
    """Distinct units (N,) for N things, chosen for their mutual information.

    Args:
        counts: (N, K) how often each thing occurs with each unit, above 0.
    """
    # The import takes half a second, and few callers need it.
    from scipy.optimize import linear_sum_assignment

    information = counts / counts.sum() * pointwise_information(counts)
    return linear_sum_assignment(information, maximize=True)[1]
