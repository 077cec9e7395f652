"""Eight bits of any others: by one rule, said once, refused where it would be a guess."""

from __future__ import annotations

import numpy as np
import pytest

from utils.data.bit_depth import ImageNotes, to_8_bits
from utils.errors import DataError

NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize(
    ('most', 'bits', 'how'),
    [
        (0, 8, 'taken as they are'), (255, 8, 'taken as they are'), (256, 10, 'divided by 4'),
        (1023, 10, 'divided by 4'), (1024, 12, 'divided by 16'), (3996, 12, 'divided by 16'),
        (4095, 12, 'divided by 16'), (4096, 14, 'divided by 64'), (16383, 14, 'divided by 64'),
        (16384, 16, 'divided by 256'), (65535, 16, 'divided by 256'),
    ],
)  # fmt: skip
@pytest.mark.parametrize('dtype', ['uint16', '>u2', 'int32', 'uint32', 'int64'])
def test_integers_are_scaled_by_the_depth_that_holds_their_maximum(dtype, most, bits, how):
    pixels, note = to_8_bits(np.array([[0, most // 2, most]], dtype), 'a.png')
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == [[0, most // 2 >> bits - 8, most >> bits - 8]]
    assert note == f'{np.dtype(dtype).itemsize * 8}-bit pixels with values of {bits} bits, {how}'


def test_a_known_depth_makes_a_dark_image_dark():
    dark = np.array([[0, 160, 900]], np.uint16)
    assert to_8_bits(dark, 'a')[0].tolist() == [[0, 40, 225]]
    assert to_8_bits(dark, 'a', most=4095)[0].tolist() == [[0, 10, 56]]
    assert to_8_bits(dark, 'a', most=65535)[0].tolist() == [[0, 0, 3]]


@pytest.mark.parametrize('dtype', ['float16', 'float32', 'float64'])
@pytest.mark.parametrize(
    ('values', 'wanted', 'note'),
    [
        ([0, 0.25, 1], [0, 64, 255], 'floats in 0..1, multiplied by 255'),
        ([-0.04, 0.5, 1.04], [0, 128, 255], 'floats in 0..1, multiplied by 255'),
        ([0, 0, 0], [0, 0, 0], 'floats in 0..1, multiplied by 255'),
        ([0, 2.4, 254.75], [0, 2, 255], 'floats in 0..255, rounded'),
        ([-5, 100.5, 260], [0, 100, 255], 'floats in 0..255, rounded'),
        ([0, 1, 2], [0, 1, 2], 'floats in 0..255, rounded'),
    ],
)
def test_floats_in_the_two_usual_ranges(dtype, values, wanted, note):
    pixels, said = to_8_bits(np.array(values, dtype), 'a.tif')
    assert (pixels.dtype, pixels.tolist(), said) == (np.uint8, wanted, note)


def test_what_needs_no_conversion_gets_no_note():
    pixels = np.arange(6, dtype=np.uint8)
    assert to_8_bits(pixels, 'a')[0] is pixels
    assert to_8_bits(pixels, 'a')[1] == ''
    assert to_8_bits(np.array([True, False]), 'a')[0].tolist() == [255, 0]


@pytest.mark.parametrize(
    ('pixels', 'complaint'),
    [
        (np.array([-1, 200], np.int16), 'a.tif: int16 pixels from -1 to 200, for which there is no rule'),
        (np.array([0, 65536]), 'int64 pixels from 0 to 65536, for which there is no rule'),
        (np.array([0, 1.5]), 'float64 pixels from 0 to 1.5, for which there is no rule. Convert all images to 8 bits'),
        (np.array([0, 4000.0], np.float32), 'float32 pixels from 0 to 4000, for which there is no rule'),
        (np.array([-2.1, 2.6]), 'float64 pixels from -2.1 to 2.6, for which there is no rule'),
        (np.array([-1.0, 1.0]), 'float64 pixels from -1 to 1, for which there is no rule'),
        (np.array([-7.0, -7.0]), 'float64 pixels from -7 to -7, for which there is no rule'),
        (np.array([0, NAN, 1]), 'has NaN or infinite pixels. Replace them'),
        (np.array([0, INF]), 'has NaN or infinite pixels'),
        (np.array([1 + 2j]), 'pixels of type complex128 in shape'),
        (np.array(['a']), 'pixels of type <U1'),
        (np.zeros((0, 4), np.float32), r'pixels of type float32 in shape \(0, 4\) are no image'),
    ],
)
def test_what_would_be_a_guess_is_refused(pixels, complaint):
    with pytest.raises(DataError, match=complaint):
        to_8_bits(pixels, 'a.tif')


def test_notes_are_counted_with_an_example(caplog):
    notes = ImageNotes()
    for name, note in (('a.tif', 'x'), ('b.tif', ''), ('c.tif', 'y'), ('\udcb2.tif', 'y')):
        notes.add(name, note)
    assert notes.lines() == ['2 images: y (for example c.tif)', '1 image: x (for example a.tif)']
    assert not caplog.messages
    notes.log()
    assert caplog.messages == notes.lines()


def test_notes_of_calls_are_said_with_the_first_image_of_each_kind(caplog):
    notes = ImageNotes(at_once=True)
    for name, note in (('a.tif', 'x'), ('b.tif', 'x'), ('c.tif', 'y'), ('d.tif', '')):
        notes.add(name, note)
    assert caplog.messages == [
        'a.tif: x; images like it are not mentioned again', 'c.tif: y; images like it are not mentioned again',
    ]  # fmt: skip
