"""Source videos: finding files, their identity by content, and the text that lies beside them.

May import: storage, settings, video, contract, common.
"""
