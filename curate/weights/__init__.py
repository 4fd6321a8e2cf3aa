"""Weights of learned models: name -> source, checksum, licence; found on this machine, downloaded once, read without
unpickling.

May import: common, errors. Imported by: networks, driver, and the other packages' networks.
"""

from clipmill.curate.weights.digests import digest, git_blob_sha1, path_sha256, remembered_sha256, sha256
from clipmill.curate.weights.load import load_state
from clipmill.curate.weights.locations import (
    FOLDER_VARIABLE,
    cache_folder,
    find,
    hub_folder,
    in_hub_cache,
    is_path,
    located,
)
from clipmill.curate.weights.preflight import LocalWeights, pull, resolve
from clipmill.curate.weights.table import Weights, known, weights_named
from clipmill.curate.weights.table_lines import list_lines

__all__ = [
    "FOLDER_VARIABLE",
    "LocalWeights",
    "Weights",
    "cache_folder",
    "digest",
    "find",
    "git_blob_sha1",
    "hub_folder",
    "in_hub_cache",
    "is_path",
    "known",
    "list_lines",
    "load_state",
    "located",
    "path_sha256",
    "pull",
    "remembered_sha256",
    "resolve",
    "sha256",
    "weights_named",
]
