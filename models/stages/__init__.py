"""What `models sample` makes: one stage or several, each a folder of samples from one checkpoint.

May import: generate, and what that may. Imported by: commands.
"""
