"""Put the pieces into one HTML file that needs nothing else: style, scripts and data inline, and a policy that forbids
the rest.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from clipmill.curate.report import card, decide, explore, fmt, overview
from clipmill.curate.report.explore import Group, Sample
from clipmill.curate.report.load import Run
from clipmill.curate.report.thumbs import MAX_THUMBS, thumbs

HERE = Path(__file__).parent
SCRIPTS = ("charts.js", "whatif.js", "app.js")


def render(run: Run) -> str:
    """The page. A function of the run directory alone: no clock, no chance, no environment."""
    chosen, funnels = explore.sample(run), [overview.funnel(run, p) for p in run.policies]
    data, script = _data(run, chosen), "\n".join((HERE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return _template().render(
        title=_title(run),
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        data=safe_json(data),
        sampled=chosen.n if chosen.n < len(run.clips) else 0,
        has_sliders=chosen.n > 0
        and any(f["min"] is not None or f["max"] is not None for p in data["policies"] for f in p["filters"]),
        head=overview.headline(run, funnels),
        funnels=funnels,
        notes=overview.notes(run, funnels),
        file_errors=overview.file_errors(run),
        clip_errors=overview.clip_errors(run),
        duplicates=overview.duplicates(run),
        card=card.card(run),
    )


def _data(run: Run, chosen: Sample) -> dict[str, Any]:
    judged = [decide.judged(run, p) for p in run.policies]
    found = [explore.groups(run, p, j, chosen.n) for p, j in zip(run.policies, judged, strict=True)]
    differ = explore.differing(run, chosen.n)
    pictured, whole = _pictured([*found, differ], chosen.n)
    policies = [explore.policy_json(run, p, j, chosen, g) for p, j, g in zip(run.policies, judged, found, strict=True)]
    data = explore.payload(run, chosen, policies or [explore.undecided_json(run, chosen.n)], pictured)
    data["differ"] = [explore.group_json(g) for g in differ]
    data["thumbs"] = {str(i): [t.n, t.width, t.height, t.jpeg] for i, t in thumbs(run, pictured, whole).items()}
    return data


def safe_json(value: Any) -> Markup:
    """JSON for a script element: ASCII, and no character that could end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"), sort_keys=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _pictured(found: list[list[Group]], n: int) -> tuple[list[int], int]:
    """Row numbers of clips to picture, most wanted first, and how many of them are in a gallery. The rest fill up to
    MAX_THUMBS.
    """
    shown = [i for groups in found for g in groups for i in g.clips]
    unique = list(dict.fromkeys(shown))[:MAX_THUMBS]
    return list(dict.fromkeys([*unique, *range(n)]))[:MAX_THUMBS], len(unique)


def _title(run: Run) -> str:
    names = run.inputs
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _template() -> Any:
    env = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {"count": fmt.count, "num": fmt.number, "span": fmt.span, "share": fmt.share, "when": fmt.when}
    return env.get_template("template.html.j2")
