"""What sampling changes of a trained network: FreeU, attention to other frames, clips of a long video, moved latents,
smoothing.

May import: core, layers, backbones, what conditions are, settings. Imported by: generate.
"""
