"""The arguments and options that the commands of `evaluate` share."""

from pathlib import Path
from typing import Annotated

import typer

SET = (
    "a folder of videos or of frame folders, a curate run, a manifest, a glob of videos or tars, a .txt with a path a"
    " line, an .npy or .npz, or statistics"
)
Real = Annotated[str, typer.Argument(metavar="REAL", help=f"Reference set: {SET}.")]
Fake = Annotated[str, typer.Argument(metavar="FAKE", help="Set to score, of the same kinds.")]
ProtocolName = Annotated[str, typer.Option("--protocol", metavar="NAME", help="`evaluate protocols` lists them.")]
Features = Annotated[
    str | None, typer.Option(metavar="NAME", help="Feature network instead of the protocol's: mini, i3d-random, ...")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the protocol, or METRIC.FIELD."),
]
RealSet = Annotated[
    list[str] | None,
    typer.Option("--real-set", metavar="KEY=VALUE", help="stride, fps or stored_fps (declared rate) of REAL alone."),
]
FakeSet = Annotated[list[str] | None, typer.Option("--fake-set", metavar="KEY=VALUE", help="The same of FAKE alone.")]
Weights = Annotated[Path | None, typer.Option(metavar="FILE", help="Weights of the feature network.")]
Where = Annotated[
    str | None,
    typer.Option(metavar="CONDITION", help='SQL, on the clips of a run: "motion > 0.1 AND width >= 512".'),
]
Out = Annotated[Path | None, typer.Option(metavar="FILE.parquet", help="Add the scores to this file.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Batch = Annotated[int, typer.Option(min=1, help="Clips per forward pass.")]
Workers = Annotated[int, typer.Option(min=1, help="Decoding threads.")]
Cache = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where features are kept; default: the user's cache folder.")
]

Clips = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.parquet", help="Write a value of each clip: of a mean its part, of a distance its share."
    ),
]
By = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Also by caption, category, source, length, or a column of the manifest."),
]
AgainstReal = Annotated[
    str | None, typer.Option("--real", metavar="REAL", help="The real videos that the sets are measured against.")
]
Metrics = Annotated[str, typer.Option(metavar="NAME,...", help="`evaluate metrics` lists them.")]
Pair = Annotated[
    str,
    typer.Option(
        metavar="WAY", help="What makes clips of two sets a pair: auto, caption, index, name, source; none for none."
    ),
]
