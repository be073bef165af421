"""The base of every configuration."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A frozen model that refuses unknown keys. Each one sits next to the class that it configures."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())
