"""Commands that answer one question each: their arguments, and what they say.

May import: cli_options, commands, and the rooms that compute.
"""
