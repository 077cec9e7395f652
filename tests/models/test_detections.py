"""What is done with detections, on boxes that are known."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import ImageShow

from models.detections import Detections, count_words
from utils.annotate import colors
from utils.errors import ResourceError

NAMES = ['cat', 'dog', '../x']
FOUND = [
    np.array([[10, 20, 50, 40, 0.9, 1], [40, 10, 60, 30, 0.8, 1], [0, 0, 8, 40, 0.5, 2]], np.float32),
    np.zeros((0, 6), np.float32),
]


@pytest.fixture
def results():
    ims = [np.full((80, 100, 3), (200, 100, 50), np.uint8), np.full((40, 40, 3), 7, np.uint8)]
    return Detections(
        ims, [rows.copy() for rows in FOUND], ['a.jpg', 'b.jpg'], NAMES, (1.23, 4.5, 0.06), (2, 3, 64, 96)
    )


def test_boxes_in_four_formats(results):
    np.testing.assert_array_equal(results.xyxy[0].numpy(), FOUND[0])
    np.testing.assert_array_equal(results.pred[0].numpy(), FOUND[0])
    np.testing.assert_allclose(results.xywh[0][0].numpy(), [30, 30, 40, 20, 0.9, 1])
    np.testing.assert_allclose(results.xyxyn[0][0].numpy(), [0.1, 0.25, 0.5, 0.5, 0.9, 1])
    np.testing.assert_allclose(results.xywhn[0][0].numpy(), [0.3, 0.375, 0.4, 0.25, 0.9, 1])
    for kind in ('xyxy', 'xywh', 'xyxyn', 'xywhn'):
        empty = getattr(results, kind)[1]
        assert tuple(empty.shape) == (0, 6)
        assert empty[:, :-1].numpy().shape == (0, 5)  # as many scripts take boxes and classes apart
    assert results.xyxyn[0][:, -1].cpu().numpy().tolist() == [1, 1, 2]


def test_tables(results):
    tables = results.pandas()
    assert tables.xyxy[0].columns.tolist() == ['xmin', 'ymin', 'xmax', 'ymax', 'confidence', 'class', 'name']
    assert tables.xywhn[0].columns.tolist() == ['xcenter', 'ycenter', 'width', 'height', 'confidence', 'class', 'name']
    assert tables.xyxy[0]['name'].tolist() == ['dog', 'dog', '../x']
    assert tables.xyxy[0]['class'].tolist() == [1, 1, 2]
    assert tables.xywh[0].loc[0].tolist()[:4] == [30, 30, 40, 20]
    assert len(tables.xyxy[1]) == 0
    assert '"xmin":10.0' in tables.xyxy[0].to_json(orient='records')
    np.testing.assert_array_equal(results.xyxy[0].numpy(), FOUND[0])  # the original stays what it was


def test_text(results, capsys):
    results.print()
    assert capsys.readouterr().out.splitlines() == [
        'image 1/2: 80x100 2 dogs, 1 ../x',
        'image 2/2: 40x40 (no detections)',
        'Speed: 1.2ms pre-process, 4.5ms inference, 0.1ms NMS per image at shape (2, 3, 64, 96)',
    ]
    assert count_words(FOUND[0][:1], NAMES) == '1 dog'


def test_picture_by_picture(results):
    assert len(results) == results.n == 2
    first, second = results
    assert [part.n for part in results.tolist()] == [1, 1]
    assert (first.files, second.files, second.ims[0].shape) == (['a.jpg'], ['b.jpg'], (40, 40, 3))
    np.testing.assert_array_equal(first.xyxy[0].numpy(), FOUND[0])
    assert str(second).startswith('image 1/1: 40x40 (no detections)')


def test_render_draws_into_copies(results):
    given = results.ims[0]
    drawn = results.render(labels=False)
    assert results.ims[0] is drawn[0] is not given
    assert (given == (200, 100, 50)).all()
    assert drawn[0][40, 30].tolist() == list(colors(1))  # RGB, the lower edge of the first box
    assert (results.render()[0] != drawn[0]).any()  # now with labels
    np.testing.assert_array_equal(drawn[1], 7)


def test_save(results, tmp_path, monkeypatch, messages):
    monkeypatch.chdir(tmp_path)
    folder = results.save()
    assert results.save().name == 'exp2'
    assert sorted(f.name for f in folder.iterdir()) == ['a.jpg', 'b.jpg']
    saved = cv2.imread(str(folder / 'a.jpg'))
    assert np.abs(saved[70, 80].astype(int) - (50, 100, 200)).max() < 6  # BGR
    assert 'Saved 2 images to runs/detect/exp' in messages()
    assert results.save(save_dir=tmp_path / 'mine') == results.save(save_dir=tmp_path / 'mine') == tmp_path / 'mine'


def test_pictures_of_one_name_are_kept_apart(results, tmp_path):
    twice = Detections(results.ims, FOUND, ['a.jpg', 'a.jpg'], NAMES)
    twice.save(save_dir=tmp_path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ['a.jpg', 'a_2.jpg']


def test_what_can_not_be_written_does_not_stop_the_others(results, tmp_path, messages):
    many = Detections([results.ims[0]] * 3, [FOUND[0]] * 3, ['a.jpg', 'b.jpg', 'c.jpg'], NAMES)
    (tmp_path / 'b.jpg').mkdir()
    with pytest.raises(ResourceError, match=r': 1 of 3 images could not be written \(.*b\.jpg: Is a directory\)'):
        many.save(save_dir=tmp_path)
    assert [(tmp_path / f'{name}.jpg').is_file() for name in 'abc'] == [True, False, True]
    assert 'b.jpg: Is a directory' in messages()
    (tmp_path / 'crops').mkdir()
    (tmp_path / 'crops' / 'dog').write_text('')
    with pytest.raises(ResourceError, match=': 6 of 9 images could not be written'):
        many.crop(save_dir=tmp_path)
    assert sorted(f.name for f in (tmp_path / 'crops' / '__x').iterdir()) == ['a.jpg', 'b.jpg', 'c.jpg']


def test_long_names_are_cut_and_stay_apart(results, tmp_path):
    names = ['图' * 100 + 'a.jpg', '图' * 100 + 'b.jpg']
    long = Detections(results.ims, [FOUND[0]] * 2, names, ['c' * 300, 'd' * 300, '\ud83d'])
    long.save(save_dir=tmp_path / 'saved')
    long.crop(save_dir=tmp_path)
    assert len(list((tmp_path / 'saved').iterdir())) == 2
    assert len(list(tmp_path.rglob('crops/*/*.jpg'))) == 6


def test_names_in_the_text_can_not_move_the_cursor(capsys):
    Detections([np.zeros((9, 9, 3), np.uint8)], [FOUND[0][:1]], ['a.jpg'], ['', '\x1b[2Jc\nat\ud83d']).print()
    assert capsys.readouterr().out.startswith('image 1/1: 9x9 1 \\x1b[2Jc\\x0aat\\ud83d\n')


def test_crops(results, tmp_path):
    results.render()  # crops are cut from the clean picture all the same
    crops = results.crop(save_dir=tmp_path)
    assert sorted(str(f.relative_to(tmp_path)) for f in tmp_path.rglob('*.jpg')) == [
        'crops/__x/a.jpg', 'crops/dog/a.jpg', 'crops/dog/a2.jpg',
    ]  # fmt: skip
    assert crops[0]['box'] == [10, 20, 50, 40]
    assert (crops[0]['cls'], crops[0]['label']) == (1, 'dog 0.90')
    assert crops[0]['conf'] == pytest.approx(0.9)
    assert crops[0]['im'].shape == (31, 51, 3)
    assert (crops[0]['im'] == (50, 100, 200)).all()  # BGR
    before = sorted(tmp_path.rglob('*'))
    assert len(results.crop(save=False, save_dir=tmp_path)) == 3
    assert sorted(tmp_path.rglob('*')) == before


def test_show(results, monkeypatch, messages):
    shown = []
    monkeypatch.setenv('DISPLAY', ':0')
    monkeypatch.setattr(ImageShow, 'show', lambda image, title: shown.append((image.size, title)) or title == 'a.jpg')
    results.show()
    assert shown == [((100, 80), 'a.jpg'), ((40, 40), 'b.jpg')]
    assert 'b.jpg: no viewer for pictures here' in messages()
    assert 'a.jpg' not in messages()


def test_without_a_screen_no_viewer_is_started(results, monkeypatch, messages):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr('utils.data.sinks.sys.platform', 'linux')
    monkeypatch.setattr(ImageShow, 'show', lambda *_, **__: 1 / 0)
    results.show()
    assert messages().count('no viewer for pictures here; .save() writes them') == 2


def test_a_notebook_shows_below_its_cell(results, monkeypatch):
    shown = []
    notebook = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=True))
    monkeypatch.setitem(sys.modules, 'IPython', notebook)
    monkeypatch.setitem(sys.modules, 'IPython.display', SimpleNamespace(display=lambda image: shown.append(image.size)))
    monkeypatch.setattr(ImageShow, 'show', lambda *_, **__: 1 / 0)
    results.show()
    assert shown == [(100, 80), (40, 40)]


def test_display_does_what_is_asked_for(results, monkeypatch, capsys):
    called = []
    monkeypatch.setattr(Detections, 'show', lambda self, labels: called.append(('show', labels)))
    monkeypatch.setattr(Detections, 'save', lambda self, labels: called.append(('save', labels)))
    results.display(show=True, save=True, labels=False)
    assert called == [('show', False), ('save', False)]
    results.display(pprint=True)
    assert 'image 1/2' in capsys.readouterr().out


def test_names_from_a_hostile_file_are_one_short_line_in_words():
    words = count_words(np.array([[0, 0, 1, 1, 1, 0]]), ['\x1b[2J\n\u202e' + 'x' * 1_000_000])
    assert words.startswith(r'1 \x1b[2J\x0a\u202ex')
    assert len(words) < 110
