import pytest

from utils.callbacks import HOOKS, Callbacks


def test_there_are_19_hooks_all_empty():
    actions = Callbacks().get_registered_actions()
    assert list(actions) == list(HOOKS)
    assert len(actions) == 19
    assert not any(actions.values())


def test_functions_run_in_order_with_what_the_hook_passes():
    callbacks, seen = Callbacks(), []
    callbacks.register_action('on_model_save', 'first', lambda path, epoch: seen.append(('first', path, epoch)))
    callbacks.register_action('on_model_save', 'second', lambda path, epoch: seen.append(('second', path, epoch)))
    callbacks.run('on_model_save', 'last', epoch=3)
    callbacks.run('on_train_end')
    assert seen == [('first', 'last', 3), ('second', 'last', 3)]


def test_registered_actions_are_named():
    callbacks = Callbacks()
    callbacks.register_action('teardown', name='mine', callback=print)
    assert callbacks.get_registered_actions('teardown') == [{'name': 'mine', 'callback': print}]
    assert callbacks.get_registered_actions('on_val_end') == []


def test_two_callbacks_objects_share_nothing():
    one, two = Callbacks(), Callbacks()
    one.register_action('teardown', callback=print)
    one.stop_training = True
    assert two.get_registered_actions('teardown') == []
    assert two.stop_training is False


def test_every_method_named_as_a_hook_is_registered():
    class Listener:
        def __init__(self):
            self.seen = []

        def on_train_start(self):
            self.seen.append('start')

        def teardown(self):
            self.seen.append('end')

        def other(self):
            raise AssertionError('not a hook')

    callbacks, listener = Callbacks(), Listener()
    callbacks.register_all(listener)
    for hook in HOOKS:
        callbacks.run(hook)
    assert listener.seen == ['start', 'end']
    assert callbacks.get_registered_actions('teardown')[0]['name'] == 'Listener'


def test_a_listener_can_be_taken_off_again():
    class Listener:
        def teardown(self): ...

    callbacks, one, two = Callbacks(), Listener(), Listener()
    callbacks.register_action('teardown', callback=print)
    callbacks.register_all(one)
    callbacks.register_all(two)
    callbacks.unregister_all(one)
    assert [action['callback'] for action in callbacks.get_registered_actions('teardown')] == [print, two.teardown]


@pytest.mark.parametrize('call', [
    lambda c: c.register_action('on_trian_end', callback=print),
    lambda c: c.run('on_trian_end'),
    lambda c: c.get_registered_actions('on_trian_end'),
])  # fmt: skip
def test_unknown_hook_is_refused_by_name(call):
    with pytest.raises(ValueError, match='on_trian_end.*on_train_end'):
        call(Callbacks())


def test_what_is_not_callable_is_refused():
    with pytest.raises(TypeError, match='not callable'):
        Callbacks().register_action('teardown', 'mine', None)


def test_an_error_in_a_function_reaches_the_caller():
    callbacks = Callbacks()
    callbacks.register_action('teardown', callback=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        callbacks.run('teardown')
