"""A sentence for each shot, from what was drawn."""

# OKLCH hue, degrees, at which each name begins
HUES = (
    (0, "pink"),
    (20, "red"),
    (45, "orange"),
    (80, "yellow"),
    (115, "green"),
    (170, "teal"),
    (220, "blue"),
    (285, "violet"),
    (330, "pink"),
)
GROUNDS = {"marble": "marbled stone", "ridges": "wavy dunes", "cells": "round pebbles", "clouds": "soft clouds"}
VERBS = {
    "linear": "glide in straight lines over",
    "bounce": "bounce off the edges of the picture over",
    "rotate": "turn in place over",
    "zoom": "lie on",
    "pan": "lie scattered on",
    "static": "rest on",
}
CAMERA = {"zoom": " while the camera zooms", "pan": " while the camera pans"}


def hue_name(hue_deg: float) -> str:
    """The colour word for an OKLCH hue in degrees."""
    return [name for start, name in HUES if start <= hue_deg % 360][-1]


def caption(shapes: list[str], style: str, law: str, hue_deg: float) -> str:
    """For example: "A ring, a star and a disc bounce off the edges of the picture over teal wavy dunes."."""
    kinds = list(dict.fromkeys(shapes))
    subject = ", ".join(f"a {k}" for k in kinds[:-1]) + f" and a {kinds[-1]}" if len(kinds) < 4 else "many small shapes"
    ground = f"{hue_name(hue_deg)} {GROUNDS[style]}"
    return f"{subject[0].upper()}{subject[1:]} {VERBS[law]} {ground}{CAMERA.get(law, '')}."
