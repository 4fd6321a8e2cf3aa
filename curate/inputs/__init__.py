"""Source videos: finding files, their identity by content, and the text that lies beside them.

May import: video, contract, common.
"""
