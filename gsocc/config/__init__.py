"""YAML files, `include:` and `--set` overrides in; validated frozen models out."""

from gsocc.config.loading import load_config, to_yaml
from gsocc.config.model import Config
from gsocc.errors import ConfigError

__all__ = ["Config", "ConfigError", "load_config", "to_yaml"]
