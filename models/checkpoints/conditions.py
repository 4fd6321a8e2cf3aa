"""What the training clips were conditioned on, kept beside a checkpoint for samples without prompts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipmill.curate.common.files import beside

TRAINED_ON = "conditions.parquet"


MOST_ROWS = 1024


def write_trained_on(
    path: Path, captions: Sequence[str], labels: Sequence[str | None], numbers: Mapping[str, Sequence[float]]
) -> None:
    """Up to 1,024 of the training windows' conditions."""
    columns: dict[str, Any] = {
        "caption": list(captions)[:MOST_ROWS],
        "label": pa.array(list(labels)[:MOST_ROWS], pa.string()),
    }
    columns |= {f"number_{k}": list(map(float, v))[:MOST_ROWS] for k, v in numbers.items()}
    with beside(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
