"""What the tests with CPython's cases share."""

from __future__ import annotations

import pytest

from stdlib.running import INSTALL_IT, Case, catalogue, is_installed


@pytest.fixture(scope="session")
def cases() -> tuple[Case, ...]:
    """Every case of the installed test package that uses a pool."""
    if not is_installed():
        pytest.skip(INSTALL_IT)
    return catalogue()
