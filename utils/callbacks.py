"""Hooks into training and evaluation, for loggers and users' own code.

callbacks = Callbacks()
callbacks.register_action('on_fit_epoch_end', name='mine', callback=lambda values, epoch, *_: print(epoch, values))
train.run(data='coco128.yaml', callbacks=callbacks)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

HOOKS = (
    'on_pretrain_routine_start',
    'on_pretrain_routine_end',
    'on_train_start',
    'on_train_epoch_start',
    'on_train_batch_start',
    'optimizer_step',
    'on_before_zero_grad',
    'on_train_batch_end',
    'on_train_epoch_end',
    'on_val_start',
    'on_val_batch_start',
    'on_val_image_end',
    'on_val_batch_end',
    'on_val_end',
    'on_fit_epoch_end',  # an epoch is trained and evaluated
    'on_model_save',
    'on_train_end',
    'on_params_update',
    'teardown',
)


class Callbacks:
    """Functions by hook; `run` calls a hook's functions in the order of their registration.

    One object may be used for several trainings, one after the other: each takes its own loggers off at its end.

    Attributes:
        stop_training: a function may set it; training then stops after the epoch. A training begins by resetting it.
    """

    def __init__(self) -> None:
        self._callbacks: dict[str, list[dict[str, Any]]] = {hook: [] for hook in HOOKS}
        self.stop_training = False

    def register_action(self, hook: str, name: str = '', callback: Callable[..., object] | None = None) -> None:
        """Add a function to a hook.

        Args:
            hook: one of HOOKS.
            name: by which `get_registered_actions` shows it.
            callback: called with what the hook passes.

        Raises:
            ValueError: there is no such hook.
            TypeError: `callback` can't be called.
        """
        if not callable(callback):
            raise TypeError(f'callback {callback!r} of {hook} is not callable')
        self._of(hook).append({'name': name, 'callback': callback})

    def register_all(self, listener: object) -> None:
        """Add every method of `listener` that is named as a hook."""
        for hook in HOOKS:
            if hasattr(listener, hook):
                self.register_action(hook, type(listener).__name__, getattr(listener, hook))

    def unregister_all(self, listener: object) -> None:
        """Take every method of `listener` off again."""
        for actions in self._callbacks.values():
            actions[:] = [a for a in actions if getattr(a['callback'], '__self__', None) is not listener]

    def get_registered_actions(self, hook: str | None = None) -> list[dict[str, Any]] | dict[str, list[dict[str, Any]]]:
        """The {'name', 'callback'} entries of one hook, or of all hooks by hook."""
        return self._of(hook) if hook else self._callbacks

    def run(self, hook: str, *args: Any, **kwargs: Any) -> None:
        """Call the functions of a hook. What one raises goes through to the caller."""
        for action in self._of(hook):
            action['callback'](*args, **kwargs)

    def _of(self, hook: str) -> list[dict[str, Any]]:
        if hook not in self._callbacks:
            raise ValueError(f'no hook {hook!r}; there are {", ".join(HOOKS)}')
        return self._callbacks[hook]
