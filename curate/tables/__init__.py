"""The run directory: where every table's parts lie, how they join into the manifest.

May import: contract, annotators, captions, networks (columns' types), settings, config, duplicates, common.
"""
