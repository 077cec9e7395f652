"""No two inputs write one file."""

import itertools

import pytest

from utils.data.names import result_stems, safe_name


def written(images, videos, frames=30):
    """All files that would be written for inputs."""
    stems = result_stems(images, videos)
    tags = [stems[path] for path in images] + [f'{stems[path]}_{n}' for path in videos for n in range(1, frames)]
    return [f'labels/{tag}.txt' for tag in tags] + [f'{stems[path]}.mp4' for path in videos]


@pytest.mark.parametrize(('images', 'videos', 'stems'), [
    (['a.jpg', 'b.jpg'], ['c.mp4'], ['a', 'b', 'c']),
    (['a.jpg'], ['a.mp4'], ['a', 'a']),  # labels/a.txt and labels/a_1.txt
    (['x/a.jpg', 'y/a.jpg', 'a.png'], [], ['a', 'a2', 'a3']),
    (['a.jpg', 'b/a.png', 'a2.jpg'], [], ['a', 'a2', 'a22']),
    (['cam_1.jpg'], ['cam.mp4'], ['cam_1', 'cam2']),
    (['cam_7.jpg', 'cam2_7.jpg'], ['cam.mp4', 'x/cam.avi'], ['cam_7', 'cam2_7', 'cam3', 'cam4']),
    (['cam_0.jpg', 'cam_01.jpg', 'cam_x.jpg', 'cam_.jpg', 'cam_٣.jpg'], ['cam.mp4'],
     ['cam_0', 'cam_01', 'cam_x', 'cam_', 'cam_٣', 'cam']),
    (['cam_1_2.jpg'], ['cam.mp4', 'cam_1.mp4'], ['cam_1_2', 'cam', 'cam_12']),
    (['a\n_1.jpg'], ['a\n.mp4'], ['a\n_1', 'a\n2']),
    (['\udcb2\udce2.jpg', '%B2%E2.jpg'], ['\udcb2.mp4'], ['%B2%E2', '%B2%E22', '%B2']),
])  # fmt: skip
def test_stems(images, videos, stems):
    assert list(result_stems(images, videos).values()) == stems
    files = written(images, videos)
    assert len(set(files)) == len(files)


def test_no_two_of_many_similar_names_write_one_file():
    stems = [f'{"".join(letters)}' for n in (1, 2, 3, 4) for letters in itertools.product('a_12', repeat=n)]
    for half in (stems[::2], stems[1::2], stems[::3]):
        images, videos = [f'{stem}.jpg' for stem in half], [f'{stem}.mp4' for stem in stems]
        files = written(images, [*videos, *(f'x/{stem}.avi' for stem in stems)])
        assert len(set(files)) == len(files)


def test_a_safe_name_is_utf_8():
    assert safe_name('\udcb2\udcff 测.jpg') == '%B2%FF 测.jpg'
    assert safe_name('a%b') == 'a%b'
