"""The networks behind feature networks, and the proof of what their weights are. No plug-ins here: see features/.

May import: weights, frames, curate.
"""
