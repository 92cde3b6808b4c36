"""The error of a prediction, from where handlers import it, too."""

from ts.utils.util import PredictionException

__all__ = ["PredictionException"]
