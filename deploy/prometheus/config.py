"""Configuration of Prometheus: the rules of all alert folders, and the target files of a home folder."""

from pathlib import Path

import yaml

from schemas.errors import ConfigError

FOLDER = Path(__file__).parent
RULES = FOLDER.parent / "alerts"


def render(targets: Path) -> str:
    """Return the configuration as YAML. `targets` is the folder of target files (`schemas.service.targets.announce`)."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["rule_files"] = [str(rule) for rule in sorted(RULES.glob("*/rule.yaml"))]
    config["scrape_configs"][0]["file_sd_configs"][0]["files"] = [str(targets / "*.json")]
    return yaml.safe_dump(config, sort_keys=False)


def write_config(folder: Path, config: str) -> Path:
    """Write the configuration file and return it. Raises ConfigError where the folder cannot be written."""
    file = folder / "prometheus.yml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(config)
    except OSError as error:
        raise ConfigError(f"cannot write {file} ({error.strerror}): set TOUCHLINE_HOME to a folder of yours") from error
    return file
