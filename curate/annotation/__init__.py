"""Running annotators over the clips of one video, while it is decoded or from what is stored of it.

May import: contract, annotators' settings through the configuration, video, tables, common, the signs of engines.
"""
