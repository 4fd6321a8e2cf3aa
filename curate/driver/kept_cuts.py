"""A run that was cut by the first rules keeps its cuts, and the ids of its clips, when `curate run` is asked again."""

from dataclasses import replace

from clipmill.curate.config import Config
from clipmill.curate.errors import UserError
from clipmill.curate.settings.scenes import FIRST_HESITATION, ScenesConfig
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import config_of


def kept_cuts(run: RunDir, config: Config) -> tuple[Config, str]:
    """For `curate run` into a run that is there: its configuration with the first rules, where those made the run, the
    other settings of `scenes` are the same and none are asked for; and a line for people where there is something to
    tell.
    """
    try:
        saved = config_of(run).scenes
    except (UserError, KeyError):  # the first run, or one that was not finished
        return config, ""
    if not saved.first_rules or config.scenes.rules == "first":
        return config, ""
    if config.scenes.rules == "auto" and _as_first(config.scenes).identity() == saved.identity():
        kept = replace(config, scenes=saved)
        return kept, "cuts stay as this run found them; --set scenes.rules=second finds them again, by today's rules"
    return config, "cuts are found again, by today's rules: every video is decoded, and clips get new ids"


def _as_first(scenes: ScenesConfig) -> ScenesConfig:
    """The same settings under the first rules, whose default of one was another."""
    untouched = scenes.network_hesitation == ScenesConfig.network_hesitation
    hesitation = FIRST_HESITATION if untouched else scenes.network_hesitation
    return replace(scenes, rules="first", network_hesitation=hesitation)
