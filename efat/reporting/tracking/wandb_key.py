"""The key of a W&B account."""

from __future__ import annotations

from efat.errors import EfatError


def require_key(otherwise: str) -> None:
    """Refuse to go online without a key: W&B would ask for one, on a terminal that is busy.

    Args:
        otherwise: What to do without an account.

    Raises:
        EfatError: W&B knows no key, from its environment variable or its login.
    """
    if not _knows_key():
        raise EfatError(f"no W&B key; run `wandb login`, or {otherwise}")


def _knows_key() -> bool:
    import wandb  # slow to import, and only here needed

    try:
        return bool(wandb.login(prompt=False, verify=False))
    except TypeError:  # no `prompt` up to 0.28; later versions warn of `wandb.api`
        return bool(wandb.api.api_key)
