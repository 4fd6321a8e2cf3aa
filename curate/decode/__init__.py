"""One video through one decode: the task, the worker that does it, and the base tables it writes.

May import: annotation, scenes, video, inputs, tables, contract, settings, config, common.
"""
