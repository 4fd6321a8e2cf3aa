"""Small tools without a subject of their own: whole files, settings, device, plug-ins, locks, progress.

May import: errors. Imported by: everyone.
"""
