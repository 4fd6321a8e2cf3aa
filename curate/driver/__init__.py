"""What a command makes happen, over all videos: listing, processing, finishing, run.json, calibration, dry run.

May import: every room of curate but report. Imported by: the commands and the API.
"""
