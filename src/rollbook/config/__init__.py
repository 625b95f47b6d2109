"""The one room that knows the environment."""

from rollbook.config.environment import environment_for, load, unknown_names
from rollbook.config.settings import OWN_FOLDERS, Settings
from rollbook.config.values import is_safe_url

__all__ = ["OWN_FOLDERS", "Settings", "environment_for", "is_safe_url", "load", "unknown_names"]
