"""Data set files: where splits are looked for, names, and what is said when something is missing."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import yaml

from utils.data import fetch
from utils.data import yaml as data_yaml
from utils.data.labels import list_images
from utils.data.yaml import check_dataset, load_data
from utils.errors import DataError, run_main
from utils.paths import read_yaml


@pytest.fixture
def places(tmp_path, monkeypatch) -> dict[str, Path]:
    """Three folders: that of the YAML, the working directory and the project's root."""
    folders = {name: tmp_path / name for name in ('beside', 'here', 'root')}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.chdir(folders['here'])
    monkeypatch.setattr(data_yaml, 'ROOT', folders['root'])
    return folders


def write(folder: Path, **content: object) -> Path:
    content = {'train': 'images/train', 'val': 'images/val', 'names': ['a', 'b'], **content}
    file = folder / 'data.yaml'
    file.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return file


def make(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True)


# Where ----------------------------------------------------------------------------------------------------------------


def test_beside_the_yaml_wins_then_the_working_directory_then_the_root(places):
    file = write(places['beside'], path='sets/mine')
    for place in ('root', 'here', 'beside'):
        base = places[place] / 'sets/mine'
        make(base / 'images/train', base / 'images/val')
        data = load_data(file)
        assert data.path == base
        assert data.train == (base / 'images/train',)
        assert data.val == (base / 'images/val',)
        assert data.test == ()


def test_a_split_is_taken_whole_from_one_base(places):
    file = write(places['beside'], train=['images/one', 'images/two'])
    make(places['beside'] / 'images/one', places['beside'] / 'images/val')
    make(places['here'] / 'images/one', places['here'] / 'images/two')
    data = load_data(file)
    assert data.train == (places['here'] / 'images/one', places['here'] / 'images/two')
    assert data.val == (places['beside'] / 'images/val',)


def test_absolute_paths_parents_and_list_files(places, tmp_path):
    make(tmp_path / 'far/images', places['beside'] / 'set')
    (tmp_path / 'far/val.txt').touch()
    file = write(places['beside'] / 'set', path='../../far', train='images', val=str(tmp_path / 'far/val.txt'))
    data = load_data(file)
    assert (data.train, data.val) == ((tmp_path / 'far/images',), (tmp_path / 'far/val.txt',))


def test_a_linked_yaml_finds_its_data_beside_either(places):
    file = write(places['beside'])
    make(places['beside'] / 'images/train', places['beside'] / 'images/val')
    (places['root'] / 'linked.yaml').symlink_to(file)
    assert load_data(places['root'] / 'linked.yaml').path == places['beside']


def test_the_home_folder(places, monkeypatch):
    monkeypatch.setenv('HOME', str(places['root']))
    make(places['root'] / 'set/images/train', places['root'] / 'set/images/val')
    assert load_data(write(places['beside'], path='~/set')).path == places['root'] / 'set'


def test_all_places_tried_are_listed(places):
    file = write(places['beside'], path='sets/mine')
    with pytest.raises(DataError) as error:
        load_data(file)
    message = str(error.value)
    assert message.startswith(f'{file}: its train pictures are missing')
    for folder in places.values():
        assert str(folder / 'sets/mine/images/train') in message


def test_only_what_is_needed_must_be_there(places):
    file = write(places['beside'], test='images/test')
    assert load_data(file, need=()).names == ('a', 'b')
    make(places['beside'] / 'images/val')
    assert load_data(file, need=('val',)).train == ()
    with pytest.raises(DataError, match='test pictures are missing'):
        load_data(file, need=('test',))
    with pytest.raises(DataError, match='has no "test"'):
        load_data(write(places['beside']), need=('test',))


def test_a_dict_will_do(places):
    make(places['here'] / 'images/train', places['here'] / 'images/val')
    data = load_data({'train': 'images/train', 'val': 'images/val', 'names': {0: 'a'}, 'mine': 7})
    assert data.file is None
    assert data['nc'] == 1
    assert data['mine'] == 7


def test_a_bare_name_is_found_in_data():
    assert load_data('coco.yaml', need=()).file == data_yaml.DATA_DIRS[0] / 'coco.yaml'
    assert check_dataset is load_data


# As other programs write it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize('form', ['../{}/images', 'rf/{}/images', '  ../{}/images ', '..\\{}\\images'])
def test_roboflows_layout_is_found_from_anywhere(places, caplog, form):
    folder = places['beside'] / 'rf'
    make(*(folder / split / 'images' for split in ('train', 'valid', 'test')))
    content = {name: form.format(split) for name, split in (('train', 'train'), ('val', 'valid'), ('test', 'test'))}
    file = write(folder, **content)
    with caplog.at_level(logging.INFO, 'yolov5'):
        data = load_data(file)
    assert (data.train, data.val) == ((folder / 'train/images',), (folder / 'valid/images',))
    assert data.test == (folder / 'test/images',)
    (line,) = caplog.messages
    read = f'{form.format("train")!r} as {str(folder / "train/images")!r}, '
    assert line.startswith(f'{file}: not there as written, so taken as what is there: {read}')


def test_data_beside_the_yaml_whose_path_is_wrong_are_taken_and_that_is_logged(places, caplog):
    folder = places['beside'] / 'rf'
    make(folder / 'train', folder / 'val')
    file = write(folder, path='/nowhere/at/all', train='train', val='val')
    with caplog.at_level(logging.INFO, 'yolov5'):
        assert load_data(file).train == (folder / 'train',)
    read = f"'train' as '{folder}/train', 'val' as '{folder}/val'"
    assert caplog.messages == [f'{file}: not there as written, so taken as what is there: {read}']


def test_what_is_there_as_written_is_never_read_otherwise(places, caplog):
    folder = places['beside'] / 'rf'
    make(*(places['beside'] / split / 'images' for split in ('train', 'valid')))
    make(*(folder / split / 'images' for split in ('train', 'valid')))
    data = load_data(write(folder, train='../train/images', val='../valid/images'))
    assert data.train == (places['beside'] / 'train/images',)
    assert caplog.messages == []


def test_blanks_around_a_path_and_globs(places, caplog):
    base = places['beside'] / 'set [1]'
    make(base / 'images/a1', base / 'images/a2', base / 'images/val')
    for name in ('a1/x.jpg', 'a2/y.jpg'):
        (base / 'images' / name).touch()
    with caplog.at_level(logging.INFO, 'yolov5'):
        data = load_data(write(base, train='images/a*', val='images/val '))
    assert data.val == (base / 'images/val',)
    assert [os.path.basename(path) for path in list_images(data.train)] == ['x.jpg', 'y.jpg']
    assert f"'images/val ' as '{base}/images/val'" in caplog.text
    with pytest.raises(DataError, match=r'looked for .*images/b\*'):
        load_data(write(base, train='images/b*'))


def test_a_folder_with_one_yaml_and_an_archive(places, caplog):
    file = write(places['beside'])
    make(places['beside'] / 'images/train', places['beside'] / 'images/val')
    with caplog.at_level(logging.INFO, 'yolov5'):
        assert load_data(places['beside']).file == file
    assert caplog.messages == [f'{places["beside"]}: a folder, taken for {file}']
    (places['beside'] / 'other.yml').touch()
    with pytest.raises(DataError, match=r'beside: a folder with 2 YAMLs \(data\.yaml, other\.yml\)'):
        load_data(places['beside'])
    with pytest.raises(DataError, match='here: a folder with no YAML'):
        load_data(places['here'])
    with pytest.raises(DataError, match=r'an archive. Unpack it, and give the YAML in it: unzip set\.zip -d set'):
        load_data('set.zip')


def test_a_labelling_tools_classes_are_compared(places, caplog):
    file = write(places['beside'], names=['circle', 'square', 'star'])
    make(*(places['beside'] / kind / split for kind in ('images', 'labels') for split in ('train', 'val')))
    classes = places['beside'] / 'labels/classes.txt'
    classes.write_text('Circle\nsquare\nstar\n\n')
    load_data(file)
    assert caplog.messages == []
    classes.write_text('dog\nperson\n')
    load_data(file)
    assert caplog.messages == [f'WARNING: {classes} and {file}: class 0 is "dog" in the one and "circle" in the other']
    classes.write_text('circle\nsquare\n')
    load_data(file)
    assert 'class 2 is missing in the one and "star" in the other' in caplog.messages[1]
    classes.write_bytes('circle'.encode('utf-16'))
    load_data(file)
    assert 'classes.txt: not UTF-8 text but, as it seems, UTF-16' in caplog.messages[2]


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'names', [['x', 'y', 'z'], {0: 'x', 1: 'y', 2: 'z'}, {2: 'z', 0: 'x', 1: 'y'}, {'0': 'x', '1': 'y', '2': 'z'}]
)
def test_names_as_list_or_dict(places, names):
    data = load_data(write(places['beside'], names=names), need=())
    assert data.names == ('x', 'y', 'z')
    assert data.nc == 3


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        ({'names': None}, 'has no "names"'),
        ({'train': 5}, 'train is 5. It has to be a folder'),
        ({'test': {'a': 'b'}}, "test is {'a': 'b'}"),
        ({'names': []}, 'has no "names"'),
        ({'names': 'cat'}, 'has no "names"'),
        ({'names': {1: 'a', 2: 'b'}}, 'names are numbered 1, 2'),
        ({'names': {0: 'a', 2: 'b'}}, 'names are numbered 0, 2'),
        ({'names': ['a', 'b'], 'nc': 3}, 'nc is 3, but names lists 2 classes'),
        ({'names': ['a'], 'nc': 3}, 'nc is 3, but names lists 1 class. Correct'),
        ({'names': [True, 'b']}, 'name 0 reads as True in YAML'),
        ({'names': ['a', None]}, 'name 1 reads as None in YAML'),
        ({'names': ['a', b'b']}, "name 1 reads as b'b' in YAML"),
        ({'names': ['a', '\ud800']}, 'name 1 is .* which is no text'),
        ({'names': dict.fromkeys(range(1, 9999), 'x')}, r'names are numbered 1, 2, .{80,100}\. Number them'),
        ({'names': ['a', 'b'], 'nc': [['x' * 99] * 99] * 99}, r'^.{,200}nc is \[\[.{80,100}, but names lists 2'),
        ({'train': [['x' * 99] * 99] * 99}, r'^.{,200}train is \[\[.{80,100}\. It has to be a folder'),
        ({'train': ['a', 5]}, r"train is \['a', 5\]"),
        ({'train': ['']}, r"train is \[''\]"),
        ({'train': ' '}, "train is ' '"),
        ({'path': ['a']}, r"path is \['a'\]"),
        ({'download': {'a': 1}}, r"download is \{'a': 1\}"),
        ({'train': 'a' * 300}, 'its train pictures are missing'),
        ({'train': '~nobody-of-this-name/a'}, 'its train pictures are missing'),
        ({'urls': 5}, 'its train pictures are missing'),
        ({'urls': [], 'train': 'a\0b'}, 'its train pictures are missing'),
        ({'train': None}, 'has no "train"'),
        ({'val': ''}, 'has no "val"'),
    ],
)
def test_a_wrong_yaml_is_named_with_its_fault(places, content, complaint):
    file = write(places['beside'], **content)
    with pytest.raises(DataError, match=complaint) as error:
        load_data(file)
    assert str(error.value).startswith(str(file))
    assert error.value.mend


def test_one_name_for_two_classes_and_keys_given_twice_are_said(places, caplog):
    load_data(write(places['beside'], names=['a', 'b', 'a', 'b', 'A']), need=())
    (places['here'] / 'twice.yaml').write_text('train: x\nnames: {0: a, 1: b, 0: c}\n')
    assert load_data('twice.yaml', need=()).names == ('c', 'b')
    assert caplog.messages == [
        f'WARNING: {places["beside"]}/data.yaml: classes 0 and 2 are both called "a", and 1 more',
        'WARNING: twice.yaml: given twice, and the last one counts: 0 (line 2)',
    ]


def test_numbers_as_names_are_text(places):
    assert load_data(write(places['beside'], names=[0, 1.5]), need=()).names == ('0', '1.5')


@pytest.mark.parametrize(
    ('text', 'complaint'), [('names: [a', 'line 1'), ('- a\n- b\n', 'not a data set YAML'), ('', 'not a')]
)
def test_what_is_no_data_set_yaml(tmp_path, text, complaint):
    file = tmp_path / 'bad.yaml'
    file.write_text(text)
    with pytest.raises(DataError, match=complaint):
        load_data(file)


def test_a_missing_yaml_is_one_line_and_exit_code_1(capsys):
    assert run_main(lambda argv: load_data('nowhere.yaml'), []) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('Error: nowhere.yaml: no such data set YAML. Looked for nowhere.yaml, ')


# Download -------------------------------------------------------------------------------------------------------------


def test_a_named_function_makes_the_data_set_once(places, monkeypatch):
    made = []

    def fetcher(folder: Path) -> None:
        made.append(folder)
        make(folder / 'images/train', folder / 'images/val')

    monkeypatch.setitem(fetch.FETCHERS, 'mine', fetcher)
    file = write(places['beside'], path='../sets/mine', download='mine')
    with pytest.raises(DataError, match=r'Let train\.py or val\.py make it'):
        load_data(file, autodownload=False)
    assert made == []
    target = places['beside'].parent / 'sets/mine'
    assert load_data(file).train == (target / 'images/train',)
    load_data(file)
    assert made == [target]


@pytest.mark.parametrize(
    ('extra', 'mend'),
    [
        ({'urls': ['https://a.org/set', 'https://b.org']}, 'Get the data set from https://a.org/set and put it into'),
        ({'download': 'https://a.org/set.zip'}, 'Get https://a.org/set.zip and unpack it into'),
        ({'download': 'bash data/get.sh'}, 'Its download script is not run'),
        ({'download': 'import os\nos.mkdir("trap")'}, 'Its download script is not run'),
        ({}, 'Correct path and the splits'),
    ],
)
def test_a_missing_data_set_says_how_to_get_it_and_runs_nothing(places, extra, mend):
    with pytest.raises(DataError) as error:
        load_data(write(places['beside'], **extra))
    assert mend in str(error.value)
    assert '\n' not in str(error.value)
    assert list(places['here'].iterdir()) == []


def test_an_official_set_that_is_not_there_names_its_address(tmp_path):
    content = read_yaml(data_yaml.DATA_DIRS[0] / 'xView.yaml') | {'path': str(tmp_path / 'xView')}
    with pytest.raises(DataError, match=r'train_images\.zip .* from https://challenge\.xviewdataset\.org and put'):
        load_data(content)
    del content['download']
    with pytest.raises(
        DataError, match=r'xView/images/autosplit_train\.txt.* from https://challenge\.xviewdataset\.org'
    ):
        load_data(content)
    assert list(tmp_path.iterdir()) == []
