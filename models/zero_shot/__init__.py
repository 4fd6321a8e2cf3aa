"""What sampling changes of a trained network: FreeU, attention to other frames, clips of a long video, moved latents,
smoothing.

May import: core, layers, backbones, settings. Imported by: generate.
"""
