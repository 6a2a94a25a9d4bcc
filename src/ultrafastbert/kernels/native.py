"""Placeholder until the native core is here."""


def is_available() -> bool:
    """Return False."""
    return False


def supports(device_type, dtype, depth) -> bool:
    """Return False."""
    return False


forward = backward = None
