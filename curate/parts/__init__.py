"""A run that many processes make side by side, each its part of the videos: which part, what it found, what is done.

May import: tables, leases, inputs, contract, common. Imported by: driver, the commands.
"""
