"""A teacher that is a Python function: whatever can answer a batch of raw features."""

from __future__ import annotations

import importlib
import logging
import time
from typing import Any

import tenacity
from numpy.typing import NDArray

from modules.errors import ConfigError, ModelError, UserError, reason_of
from modules.settings import TeacherSettings
from modules.teachers.raw_features import Features

_LOG = logging.getLogger("tfx_distill.teacher")
_LONGEST_WAIT_S = 60.0


class FunctionTeacher:
    """Calls `package.module:function`, with retries and no faster than allowed.

    Args:
      settings: `function`, `retries`, `calls_per_minute`.
      key: Place of the teacher in the configuration, for messages.

    Raises:
      ConfigError: There is no such function.
    """

    def __init__(self, settings: TeacherSettings, key: str):
        module, _, name = settings.name.partition(":")
        try:
            self._function = getattr(importlib.import_module(module), name)
        # Whatever the user's module raises, even by sys.exit, is the user's to fix.
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"{key}.function must be package.module:function that Python can import, got "
                f"{settings.name!r}, but: {reason_of(error)}"
            ) from error
        self._key, self._name = key, settings.name
        calls = settings.calls_per_minute
        self._interval = 60 / calls if calls else 0.0
        self._next_call = time.monotonic()
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(settings.retries + 1),
            wait=tenacity.wait_exponential(multiplier=0.5, max=_LONGEST_WAIT_S),
            retry=tenacity.retry_if_not_exception_type((UserError, SystemExit, KeyboardInterrupt)),
            before_sleep=self._log_failure,
            reraise=True,
        )

    def answer(self, features: Features) -> NDArray[Any]:
        """What the function answers.

        Raises:
          ModelError: It failed, and failed again.
        """
        try:
            return self._retrying(self._call, features)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise ModelError(
                f"{self._key}.function {self._name} failed on a batch of "
                f"{len(next(iter(features.values())))} examples: {reason_of(error)}; what it "
                "answered before is kept"
            ) from error

    def _call(self, features: Features) -> NDArray[Any]:
        wait = self._next_call - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._next_call = time.monotonic() + self._interval
        return self._function(features)

    def _log_failure(self, state: tenacity.RetryCallState) -> None:
        assert state.outcome is not None and state.next_action is not None
        error = state.outcome.exception()
        assert error is not None
        _LOG.warning(
            "%s: %s; tried again in %.1f s", self._name, reason_of(error), state.next_action.sleep
        )
