"""The wide path: a multinomial logistic regression on n-grams and on the mean word vector of a title.

It is convex, so no seed, schedule or number of epochs decides what it learns. No network is built here.
"""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

# Past this, held-out log-loss no longer moved; without it a hard night would take as long as it likes.
MAX_ITERATIONS = 300
TOLERANCE = 1e-3


def fit_wide(
    features: scipy.sparse.csr_matrix,
    label_ids: NDArray[np.int64],
    weights: NDArray[np.float32],
    classes: int,
    inverse_l2: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fits the regression.

    Args:
      features: float [n, columns].
      label_ids: int [n], in [0, classes).
      weights: float [n], of mean 1.
      classes: how many there are; one that does not occur is given next to no probability.
      inverse_l2: sum of weighted losses per unit of squared L2 norm; smaller is more regular.

    Returns:
      Kernel float32 [columns, classes] and bias float32 [classes] of the logits.
    """
    present = np.unique(label_ids)
    kernel = np.zeros((features.shape[1], classes), np.float32)
    bias = np.full(classes, np.log(1e-4), np.float32)
    if len(present) == 1:
        bias[present] = 0.0
        return kernel, bias
    regression = LogisticRegression(C=inverse_l2, max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    regression.fit(features, label_ids, sample_weight=weights)
    if len(present) == 2:
        # Of two classes scikit-learn keeps the second one's log-odds alone.
        kernel[:, present[1]], bias[present] = regression.coef_[0], [0.0, regression.intercept_[0]]
    else:
        kernel[:, present], bias[present] = regression.coef_.T, regression.intercept_
    return kernel, bias
