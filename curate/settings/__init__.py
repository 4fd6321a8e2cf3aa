"""The configuration's sections as frozen dataclasses, one file each: defaults, units, what they mean.

May import: errors. Imported by: config and the rooms that the settings are for.
"""
