"""What learned annotators load: CLIP, RAFT, PP-OCR, CRAFT, aesthetic heads. No annotator and no policy here.

May import: contract, weights, common.
"""
