"""The run directory: where every table's parts lie, what made them (fingerprints), how they join into the manifest.

May import: contract, annotators, config, duplicates, common.
"""
