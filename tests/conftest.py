from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.tiny import Tiny, logged_lines, make_tiny


@pytest.fixture(scope='session')
def tiny(tmp_path_factory) -> Tiny:
    """A data set and a model with which a run takes a second; not to be changed."""
    return make_tiny(tmp_path_factory.mktemp('tiny'))


@pytest.fixture
def messages() -> Iterator[Callable[[], str]]:
    """A function that gives what was logged so far."""
    with logged_lines() as lines:
        yield lambda: '\n'.join(lines)
