"""The public configuration: what a client may know of how this service is set up."""

from app import __version__
from app.core import declared, dynamic
from app.core.config import settings
from app.core.declared import Registration
from app.core.dynamic import Caller
from app.schemas.config import AppConfig, AuthConfig, PasswordBounds, PublicConfig
from app.schemas.users import PASSWORD_MAX
from app.services import access
from app.services.limits import public_limits


def public_config(caller: Caller) -> PublicConfig:
    """What a caller may know, as this process knows it."""
    return PublicConfig(
        app=AppConfig(name="NeoForge", version=__version__, environment=settings.environment),
        auth=AuthConfig(
            registration=declared.registration() is not Registration.closed,
            require_verified_email=access.needs_verified_email(),
            browser_mode=True,
            password=PasswordBounds(min_length=settings.password_min_length, max_length=PASSWORD_MAX),
        ),
        limits=public_limits(),
        flags=dynamic.visible(caller),
    )
