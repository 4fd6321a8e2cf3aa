"""Mean and covariance of features that never lie in memory together: streaming float64 moments, merged without
cancellation.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipmill.curate.common.files import beside
from clipmill.curate.errors import UserError, one_line

VERSION = 1


@dataclass
class Moments:
    """Running first and second moments. Merging is that of T. Chan, G. Golub, R. LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances", 1979: no difference of large numbers is ever taken.

    count: rows seen. mean: float64 [D]. scatter: float64 [D, D], sum of outer products of the centred rows.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def empty(cls, dim: int) -> "Moments":
        """Of no rows."""
        return cls(0, np.zeros(dim), np.zeros((dim, dim)))

    @classmethod
    def of(cls, rows: np.ndarray) -> "Moments":
        """Of float [N, D]. Raises UserError for another shape or numbers that are not finite."""
        if rows.ndim != 2:
            raise UserError(f"features are rows of one table, not an array of shape {list(rows.shape)}")
        if len(rows) == 0:
            return cls.empty(rows.shape[1])
        wide = rows.astype(np.float64)
        mean = wide.mean(axis=0)
        if not np.isfinite(mean).all():
            raise UserError("features hold numbers that are not finite")
        wide -= mean
        return cls(len(rows), mean, wide.T @ wide)

    def update(self, rows: np.ndarray) -> None:
        """Add float [N, D]."""
        self.merge(Moments.of(rows))

    def merge(self, other: "Moments") -> None:
        """Add all that `other` has seen. Raises UserError where the dimensions differ."""
        if self.mean.shape != other.mean.shape:
            raise UserError(f"moments of {len(self.mean)} and of {len(other.mean)} dimensions cannot be merged")
        count = self.count + other.count
        if other.count == 0:
            return
        step = other.mean - self.mean
        self.scatter = self.scatter + other.scatter + np.outer(step, step) * (self.count * other.count / count)
        self.mean = self.mean + step * (other.count / count)
        self.count = count

    def without(self, part: "Moments") -> "Moments":
        """What is left when rows that were seen before are taken out again. Raises UserError where nothing would be
        left.
        """
        count = self.count - part.count
        if count < 1:
            raise UserError(f"{part.count} of {self.count} clips cannot be taken out")
        mean = self.mean + (self.mean - part.mean) * (part.count / count)
        step = part.mean - mean
        return Moments(
            count, mean, self.scatter - part.scatter - np.outer(step, step) * (count * part.count / self.count)
        )

    def covariance(self, ddof: int = 1) -> np.ndarray:
        """float64 [D, D]: scatter / (count - ddof). Raises UserError where that is no positive number."""
        if self.count <= ddof:
            raise UserError(f"a covariance with ddof {ddof} needs more than {ddof} clips, there are {self.count}")
        return self.scatter / (self.count - ddof)

    def save(self, path: Path, fingerprint: str) -> None:
        """One .npz. fingerprint: of everything that made the features."""
        with beside(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                clipmill_moments=VERSION,
                count=self.count,
                mean=self.mean,
                scatter=self.scatter,
                fingerprint=np.array(fingerprint),
            )

    @classmethod
    def load(cls, path: Path) -> tuple["Moments", str]:
        """What `save` wrote: moments and fingerprint. Raises UserError where the file is damaged or of a later
        version.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                if int(data["clipmill_moments"]) > VERSION:
                    raise UserError(f"{path} was written by a later version of clipmill")
                return cls(int(data["count"]), data["mean"], data["scatter"]), str(data["fingerprint"])
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{path} is no readable file of moments: {one_line(error)}") from error
