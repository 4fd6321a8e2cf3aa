"""The configuration's sections as frozen dataclasses, one file each: defaults, units, what they mean; and the
fingerprints of what is made under them.

May import: errors, contract, common. Imported by: config and the rooms that the settings are for.
"""
