"""Configuration of Prometheus: the rules of all alert folders, and the target files of a home folder."""

from pathlib import Path

import yaml

FOLDER = Path(__file__).parent
RULES = FOLDER.parent / "alerts"


def render(targets: Path) -> str:
    """Return the configuration as YAML. `targets` is the folder of target files (`schemas.service.targets.announce`)."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["rule_files"] = [str(rule) for rule in sorted(RULES.glob("*/rule.yaml"))]
    config["scrape_configs"][0]["file_sd_configs"][0]["files"] = [str(targets / "*.json")]
    return yaml.safe_dump(config, sort_keys=False)
