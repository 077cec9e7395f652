"""Downloads, against a local server that behaves badly in every way we could think of."""

from __future__ import annotations

import errno
import http.server
import io
import os
import socket
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from utils import downloads
from utils.downloads import attempt_download, check_file, download, is_url, safe_download, url2file
from utils.errors import DataError, ResourceError, UsageError, WeightsError

BODY = os.urandom(300_000)


def zipped(size: int = 200_000) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr('archive/data.pkl', os.urandom(size))
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the path's last part; `server.log` has what was asked."""

    protocol_version = 'HTTP/1.1'

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        state = self.server.state
        state.log.append((self.path, self.headers.get('Range')))
        name = self.path.rpartition('/')[2].partition('?')[0]
        getattr(self, name.partition('.')[0].replace('-', '_'), self.file)()

    def start(self, code: int, length: int | None, **headers: str) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key.replace('_', '-'), value)
        if length is not None:
            self.send_header('Content-Length', str(length))
        self.send_header('Connection', 'close')
        self.end_headers()
        self.close_connection = True

    def file(self) -> None:
        body = self.server.state.files.get(self.path.partition('?')[0])
        if body is None:
            self.start(404, 0)
        else:
            self.start(200, len(body))
            self.wfile.write(body)

    def truncated(self) -> None:
        self.start(200, len(BODY))
        self.wfile.write(BODY[:1000])

    def resumable(self, tag: str = '"v1"', ranges: bool = True) -> None:
        """Breaks off after each 100,000 bytes."""
        asked = self.headers.get('Range')
        begin = int(asked[6:-1]) if asked and ranges and self.headers.get('If-Range') == tag else 0
        if begin:
            self.start(206, len(BODY) - begin, Content_Range=f'bytes {begin}-{len(BODY) - 1}/{len(BODY)}', ETag=tag)
        else:
            self.start(200, len(BODY), ETag=tag)
        self.wfile.write(BODY[begin : begin + 100_000])

    def changing(self) -> None:
        """A file that is another one at every request; complete from the third on."""
        n = len(self.server.state.log)
        body = bytes([n]) * 1000
        self.start(200, len(body), ETag=f'"{n}"')
        self.wfile.write(body if n >= 3 else body[:500])

    def chunked(self) -> None:
        self.start(200, None, Transfer_Encoding='chunked')
        for part in (BODY[:7], BODY[7:]):
            self.wfile.write(f'{len(part):x}\r\n'.encode() + part + b'\r\n')
        self.wfile.write(b'0\r\n\r\n')

    def busy(self) -> None:
        self.start(503, 0)

    def dead(self) -> None:
        self.server.state.stop.wait(5)

    def endless(self) -> None:
        """Says no length, and sends what it has until nobody listens."""
        self.start(200, None)
        while not self.server.state.stop.is_set():
            try:
                self.wfile.write(bytes(100))
            except OSError:
                break

    def slow(self) -> None:
        self.start(200, len(BODY))
        while not self.server.state.stop.wait(0.05):
            try:
                self.wfile.write(b'x')
            except OSError:
                break

    def moved(self) -> None:
        self.start(302, 0, Location='/data/real.bin')

    def to_a_file(self) -> None:
        self.start(302, 0, Location='file:///etc/passwd')

    def garbage(self) -> None:
        self.wfile.write(b'nonsense\r\n\r\n')
        self.close_connection = True


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    httpd.daemon_threads = True
    httpd.state = SimpleNamespace(files={}, log=[], stop=threading.Event())
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    httpd.state.url = f'http://127.0.0.1:{httpd.server_port}'
    yield httpd.state
    httpd.state.stop.set()
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(downloads, 'ROOT', tmp_path / 'root')
    monkeypatch.setattr(downloads.time, 'sleep', lambda _: None)
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY', downloads.MIRRORS_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def here() -> list[str]:
    return sorted(os.listdir())


# Addresses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('text', 'answer'),
    [
        ('https://a.b/c.jpg', True), ('HTTP://a/b', True), (Path('https://a.b/c'), False), ('http://', False),
        ('file:///etc/passwd', False), ('ftp://a/b', False), ('c:/x.jpg', False), ('a.jpg', False), ('', False),
        ('rtsp://camera/1', False), (0, False), ('http://[', False), ('rtsp://[', False),
    ],
)  # fmt: skip
def test_is_url(text: object, answer: bool) -> None:
    assert is_url(text) is answer


def test_is_url_can_ask_the_server(server: SimpleNamespace) -> None:
    server.files['/a.jpg'] = b'x'
    assert is_url(f'{server.url}/a.jpg', check=True)
    assert not is_url(f'{server.url}/b.jpg', check=True)
    assert not is_url('http://127.0.0.1:1/b.jpg', check=True)


@pytest.mark.parametrize(
    ('url', 'name'),
    [
        ('https://a.b/c/d.txt?auth=1#x', 'd.txt'), ('https://a.b/c%20d.jpg', 'c d.jpg'),
        ('https://a.b/..%2F..', 'download'), ('https://a.b/', 'download'), ('https://a.b', 'download'),
        ('https://a.b/x%00y', 'xy'), ('https://a.b/x%2Fy.pt', 'y.pt'),
    ],
)  # fmt: skip
def test_url2file(url: str, name: str) -> None:
    assert url2file(url) == name


# Transfers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['real.bin', 'moved.bin'])
def test_download(server: SimpleNamespace, name: str) -> None:
    server.files['/data/real.bin'] = BODY
    assert safe_download('new/folder/x.bin', f'{server.url}/data/{name}') == Path('new/folder/x.bin')
    assert Path('new/folder/x.bin').read_bytes() == BODY
    assert os.listdir('new/folder') == ['x.bin']


def test_without_content_length(server: SimpleNamespace) -> None:
    assert safe_download('x', f'{server.url}/chunked.bin').read_bytes() == BODY


def test_an_empty_file_is_no_file(server: SimpleNamespace) -> None:
    server.files['/empty'] = b''
    with pytest.raises(ResourceError, match='only 0 bytes'):
        safe_download('x', f'{server.url}/empty')
    assert here() == []


def test_spaces_in_an_address(server: SimpleNamespace) -> None:
    server.files['/a%20b.bin'] = BODY
    assert safe_download('x', f'{server.url}/a b.bin').read_bytes() == BODY


def test_a_broken_transfer_is_resumed(server: SimpleNamespace) -> None:
    assert safe_download('x', f'{server.url}/resumable.bin').read_bytes() == BODY
    assert [asked for _, asked in server.log] == [None, 'bytes=100000-', 'bytes=200000-']
    assert here() == ['x']


def resume(url: str, **options: object) -> bytes | None:
    """Download to x as far as it comes in one go; its content if it came whole."""
    try:
        return safe_download('x', url, retries=0, resume=True, **options).read_bytes()
    except ResourceError:
        return None


def test_a_download_goes_on_in_another_call(server: SimpleNamespace) -> None:
    url = f'{server.url}/resumable.bin'
    assert (resume(url), here()) == (None, ['x.part', 'x.part.from'])
    assert Path('x.part').read_bytes() == BODY[:100_000]
    assert (resume(url), resume(url), resume(url)) == (None, None, BODY)
    # Each call asks for the last byte again: had the first three come whole, there would be one left to ask for.
    assert [asked for _, asked in server.log] == [None, 'bytes=99999-', 'bytes=199998-', 'bytes=299997-']
    assert here() == ['x']


def test_a_download_that_was_killed_when_it_was_whole(server: SimpleNamespace) -> None:
    url = f'{server.url}/resumable.bin'
    Path('x.part').write_bytes(BODY)
    Path('x.part.from').write_text(f'{url}\n"v1"')
    assert resume(url) == BODY
    assert [asked for _, asked in server.log] == ['bytes=299999-']
    assert here() == ['x']


@pytest.mark.parametrize('note', ['', '{url}', '{url}\n', '{url}\n"v0"', '{url}x\n"v1"', 'http://a/b\n"v1"'])
def test_a_beginning_of_something_else_is_dropped(server: SimpleNamespace, note: str) -> None:
    url = f'{server.url}/resumable.bin'
    Path('x.part').write_bytes(b'z' * 100_000)
    Path('x.part.from').write_text(note.format(url=url))
    assert resume(url) is None
    assert Path('x.part').read_bytes() == BODY[:100_000]


def test_what_came_wrong_is_not_gone_on_with(server: SimpleNamespace) -> None:
    server.files['/a'] = BODY
    assert resume(f'{server.url}/a', check=lambda f: 'looks odd') is None
    assert here() == []
    assert resume(f'{server.url}/nothing') is None
    assert here() == []


def test_two_versions_of_a_file_are_never_joined(server: SimpleNamespace) -> None:
    assert safe_download('x', f'{server.url}/changing.bin').read_bytes() == bytes([3]) * 1000


@pytest.mark.parametrize(
    ('name', 'message', 'requests'),
    [
        ('nothing', 'HTTP 404', 1),
        ('busy', 'HTTP 503', 3),
        ('truncated', 'broke off after 1000 of 300000 bytes', 3),
        ('dead', 'timed out', 1),
        ('slow', 'next to nothing', 1),
        ('garbage', 'nonsense', 1),
        ('to-a-file', 'HTTP 302', 1),
    ],
)
def test_bad_servers(server: SimpleNamespace, name: str, message: str, requests: int) -> None:
    Path('x').write_bytes(b'what was there before')
    patience = 0.3 if name in ('dead', 'slow') else 60  # seconds: a busy machine's own answer may take a while
    with pytest.raises(ResourceError, match=message) as failed:
        safe_download('x', f'{server.url}/{name}', timeout=patience, retries=2)
    assert f'{server.url}/{name}' in str(failed.value)
    assert str(Path('x').absolute()) in str(failed.value)
    assert len(server.log) == requests
    assert here() == ['x']
    assert Path('x').read_bytes() == b'what was there before'


@pytest.mark.parametrize(
    'url', ['http://no-such-host.invalid/x', 'http://127.0.0.1:1/x', 'http://[::bad/x', 'http://a b/x']
)
def test_no_network(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_names(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, 'Temporary failure in name resolution')

    monkeypatch.setattr(socket, 'getaddrinfo', no_names)
    with pytest.raises(ResourceError, match='could not be downloaded'):
        safe_download('x', url, timeout=0.5)
    assert here() == []


def test_the_second_address(server: SimpleNamespace) -> None:
    server.files['/b'] = BODY
    assert safe_download('x', f'{server.url}/a', f'{server.url}/b').read_bytes() == BODY
    with pytest.raises(ResourceError, match=r'/a \(HTTP 404.*\) or .*/c \(HTTP 404.*Ask Bob'):
        safe_download('y', f'{server.url}/a', f'{server.url}/c', error_msg='ask Bob')


def test_too_small_and_wrong_content(server: SimpleNamespace) -> None:
    server.files['/a'] = b'error page'
    with pytest.raises(ResourceError, match='only 10 bytes'):
        safe_download('x', f'{server.url}/a', min_bytes=11)
    with pytest.raises(ResourceError, match='looks odd'):
        safe_download('x', f'{server.url}/a', check=lambda f: 'looks odd')
    assert here() == []


def test_too_large(server: SimpleNamespace) -> None:
    server.files['/a'] = b'0123456789'
    assert safe_download('x', f'{server.url}/a', max_bytes=10).read_bytes() == b'0123456789'
    for name in ('a', 'endless'):
        with pytest.raises(ResourceError, match='more than the 0 MB allowed'):
            safe_download('y', f'{server.url}/{name}', max_bytes=9)
    assert here() == ['x']


def test_a_full_disk(server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files['/a'] = BODY
    with monkeypatch.context() as patch:
        patch.setattr(downloads.os, 'fstatvfs', lambda _: SimpleNamespace(f_bavail=1, f_frsize=4096))
        with pytest.raises(ResourceError, match='but the disk has'):
            safe_download('x', f'{server.url}/a')

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('utils.paths.os.fsync', full)
    with pytest.raises(ResourceError, match=r'x: could not be written \(No space'):
        safe_download('x', f'{server.url}/a')
    assert here() == []


# Mirrors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('words', 'url', 'asked'),
    [
        ('', 'https://github.com/a', 'https://github.com/a'),
        ('http://m/', 'https://github.com/a', 'http://m/a'),
        ('http://m', 'https://github.community/a', 'https://github.community/a'),
        ('http://m', 'https://other.org/a', 'https://other.org/a'),
        ('http://m https://other.org/=http://m/o?x=', 'https://other.org/a', 'http://m/o?x=a'),
        ('https://x.org=http://m https://=http://n/', 'https://x.org/a', 'http://m/a'),
        ('https://x.org=http://m https://=http://n/', 'https://y.org/https://x.org', 'http://n/y.org/https://x.org'),
    ],
)
def test_mirrors(monkeypatch: pytest.MonkeyPatch, words: str, url: str, asked: str) -> None:
    monkeypatch.setenv(downloads.MIRRORS_VARIABLE, words)
    assert downloads.mirrored(url) == asked


# Weights -------------------------------------------------------------------------------------------


def test_weights_that_are_there() -> None:
    Path('a').mkdir()
    for name in ('a/b.pt', 'best', 'c.safetensors', 'd.pt', 'yolov5s.pt'):
        Path(name).write_bytes(b'')
    assert attempt_download('a/b.pt') == Path('a/b.pt')
    assert attempt_download(' "best" ') == Path('best')
    assert attempt_download('c') == Path('c.safetensors')
    assert attempt_download('d') == Path('d.pt')
    assert attempt_download('c.pt') == Path('c.safetensors')
    with pytest.raises(WeightsError):
        attempt_download('d.safetensors')
    assert attempt_download('yolov5s.pt') == Path('yolov5s.pt')
    assert attempt_download(Path('a/b.pt').absolute()) == Path('a/b.pt').absolute()


def test_a_bare_name_in_the_root(tmp_path: Path) -> None:
    (tmp_path / 'root').mkdir()
    (tmp_path / 'root' / 'yolov5n.pt').write_bytes(b'')
    assert attempt_download('yolov5n.pt') == tmp_path / 'root' / 'yolov5n.pt'


@pytest.mark.parametrize('name', ['yolov5n.pt', 'weights/yolov5x6.pt'])
def test_official_weights_are_downloaded(server: SimpleNamespace, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f'/ultralytics/yolov5/releases/download/v6.2/{Path(name).name}'
    server.files[address] = zipped()
    monkeypatch.setenv(downloads.MIRRORS_VARIABLE, f'{server.url}/')
    assert attempt_download(name) == Path(name)
    assert Path(name).read_bytes() == server.files[address]
    assert server.log == [(address, None)]
    attempt_download(name)
    assert len(server.log) == 1


def test_another_release_and_host(server: SimpleNamespace) -> None:
    server.files['/me/mine/releases/download/v7.0/yolov5s.pt'] = zipped()
    assert attempt_download('yolov5s.pt', 'me/mine', 'v7.0', server.url).is_file()


@pytest.mark.parametrize(
    ('body', 'message'),
    [
        (b'<html>' * 50_000, 'no weights file'),
        (zipped(10), 'bytes'),
        (zipped()[:-30_000], 'no weights file'),
        (None, '404'),
    ],
)
def test_official_weights_that_are_not(server: SimpleNamespace, body: bytes | None, message: str) -> None:
    if body is not None:
        server.files['/ultralytics/yolov5/releases/download/v6.2/yolov5s.pt'] = body
    with pytest.raises(ResourceError, match=message) as failed:
        attempt_download('yolov5s.pt', host=server.url)
    assert f'{server.url}/ultralytics/yolov5/releases/download/v6.2/yolov5s.pt' in str(failed.value)
    assert str(Path('yolov5s.pt').absolute()) in str(failed.value)
    assert here() == []


@pytest.mark.parametrize('name', ['yolov5q.pt', 'yolov5s-cls.pt', 'yolov5s-seg.pt', 'runs/best.pt', '', 'yolov5s.onnx'])
def test_names_that_are_neither_there_nor_official(name: str) -> None:
    with pytest.raises(WeightsError, match=r'yolov5s\.pt|folder') as failed:
        attempt_download(name, host='http://127.0.0.1:1')
    assert name in str(failed.value)


def test_a_folder_for_weights() -> None:
    Path('runs').mkdir()
    with pytest.raises(WeightsError, match='runs: is a folder'):
        attempt_download('runs')


def test_weights_by_their_address(server: SimpleNamespace) -> None:
    server.files['/a/best.pt'] = BODY
    assert attempt_download(f'{server.url}/a/best.pt') == Path('best.pt')
    assert attempt_download(f'{server.url}/a/best.pt') == Path('best.pt')
    assert len(server.log) == 1
    with pytest.raises(ResourceError, match='404'):
        attempt_download(f'{server.url}/a/worst.pt')


# Other files ---------------------------------------------------------------------------------------


def test_check_file(server: SimpleNamespace, tmp_path: Path) -> None:
    server.files['/a/bus.jpg'] = BODY
    assert check_file(f'{server.url}/a/bus.jpg?x=1', suffix='.jpg').read_bytes() == BODY
    assert check_file('bus.jpg') == Path('bus.jpg')
    (tmp_path / 'root').mkdir()
    (tmp_path / 'root' / 'x.yaml').write_text('')
    assert check_file('x.yaml') == tmp_path / 'root' / 'x.yaml'
    with pytest.raises(DataError, match=r'nothing\.jpg: no such file'):
        check_file('nothing.jpg')
    with pytest.raises(UsageError, match=r'not a \.yaml file'):
        check_file('bus.jpg', suffix='.yaml')


def test_download_unpacks_archives(server: SimpleNamespace) -> None:
    server.files |= {'/x.zip': zipped(100), '/y.txt': BODY}
    Path('local.zip').write_bytes(zipped(50))
    files = download([f'{server.url}/x.zip', f'{server.url}/y.txt', 'local.zip'], 'data', threads=2)
    assert files == [Path('data/x.zip'), Path('data/y.txt'), Path('local.zip')]
    assert sorted(os.listdir('data')) == ['archive', 'y.txt']
    assert os.path.getsize('data/archive/data.pkl') in (50, 100)
    assert Path('local.zip').exists()


def test_download_can_leave_archives_alone(server: SimpleNamespace) -> None:
    server.files['/x.zip'] = zipped(100)
    assert download(f'{server.url}/x.zip', 'data', unzip=False) == [Path('data/x.zip')]
    assert download(f'{server.url}/x.zip', 'data', delete=False) == [Path('data/x.zip')]
    assert sorted(os.listdir('data')) == ['archive', 'x.zip']
    assert len(server.log) == 1
