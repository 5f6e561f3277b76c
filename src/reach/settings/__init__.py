"""Every setting, read once from the environment and passed down."""

from reach.settings.environment import load, unknown_variables
from reach.settings.model import Settings
from reach.settings.types import SECRETS, BadSettings

__all__ = ["SECRETS", "BadSettings", "Settings", "load", "unknown_variables"]
