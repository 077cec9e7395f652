"""Which errors are of one input and how they are reported, counted and summed up."""

import errno
import sys

import cv2
import pytest

from utils.errors import ConfigError, DataError, ResourceError, UsageError, WeightsError
from utils.faults import Fault, Faults, ends_run


class LibraryError(Exception):
    """Like onnxruntime's own classes: no RuntimeError."""

    __module__ = 'onnxruntime.capi.onnxruntime_pybind11_state'


def system(number, name=None):
    return OSError(number, 'so it is', name)


@pytest.mark.parametrize(('error', 'reason', 'traceback'), [
    (DataError('a.jpg: not an image', 'remove it'), 'not an image. Remove it', False),
    (ResourceError('out/a.mp4: can not be made'), 'out/a.mp4: can not be made', False),
    (MemoryError(), 'too little memory for it', False),
    (system(errno.EACCES, 'a.jpg'), 'so it is', False),
    (system(errno.EFBIG, 'out/a.jpg'), 'so it is: out/a.jpg', False),
    (system(errno.EIO), 'so it is', False),
    (RuntimeError('no\nsuch kernel'), 'RuntimeError: no such kernel', False),
    (LibraryError('a shape of 0'), 'LibraryError: a shape of 0', False),
    (AttributeError('no x'), 'internal error, AttributeError: no x', True),
    (ZeroDivisionError('by zero'), 'internal error, ZeroDivisionError: by zero', True),
    (ValueError('\x1b[2J' * 200), 'internal error, ValueError: ' + ('\\x1b[2J' * 200)[:137] + '...', True),
])  # fmt: skip
def test_what_happens_to_one_input(messages, error, reason, traceback):
    faults = Faults()
    faults.add('a.jpg', error, 'image 1/2 ')
    ((name, said),) = faults
    assert (name, said[:160]) == ('a.jpg', reason[:160])
    assert messages().startswith(f'image 1/2 a.jpg: {said}')
    assert ('Traceback' in messages() or '\n' in messages()) == traceback


def test_opencvs_errors_are_no_bugs_of_ours(messages):
    with pytest.raises(cv2.error) as caught:
        cv2.resize(None, (0, 0))
    faults = Faults()
    faults.add('a.jpg', caught.value)
    assert faults[0].reason.startswith('error: OpenCV(')
    assert 'Traceback' not in messages()


@pytest.mark.parametrize('error', [
    UsageError('--x: wrong'), ConfigError('x'), WeightsError('x'),
    *map(system, (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)),
])  # fmt: skip
def test_what_the_others_would_meet_too_ends_the_run(error, messages):
    assert ends_run(error)
    faults = Faults()
    with pytest.raises(type(error)) as caught:
        faults.add('a.jpg', error)
    assert caught.value is error
    assert (faults, messages()) == ([], '')


def test_the_traceback_of_a_bug_is_shown_once_and_of_others_with_debug(messages, monkeypatch):
    def report(faults, error):
        try:
            raise error
        except Exception as caught:
            faults.add('a', caught)

    faults = Faults()
    for _ in range(3):
        report(faults, TypeError('bug'))
    assert messages().count('Traceback (most recent call last)') == 1
    assert 'in report' in messages()
    report(faults, DataError('x'))
    assert messages().count('Traceback') == 1
    monkeypatch.setattr(sys, 'argv', ['detect.py', '--debug'])
    report(faults, DataError('x'))
    assert messages().count('Traceback') == 2


def test_the_summary_names_a_few_and_counts_the_rest():
    faults = Faults(Fault(f'{n}.jpg', 'why') for n in (1, 2, 1))
    assert faults.summary(57) == '2 of 57 inputs failed: 1.jpg (why), 2.jpg (why)'
    faults += [Fault('x\x1b.jpg', 'because ' * 100), Fault('\udcb2.jpg', ''), Fault('c', '')]
    text = faults.summary(57, 'streams')
    assert text.startswith('5 of 57 streams failed: 1.jpg (why), 2.jpg (why), x\\x1b.jpg (because because')
    assert text.endswith('), and 2 more')
    assert len(text) < 250
    assert Faults().summary(3) == ''
