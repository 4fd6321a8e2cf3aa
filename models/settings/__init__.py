"""The sections of a training's configuration as frozen dataclasses.

May import: curate's settings and errors. Imported by: config and everything below it.
"""
