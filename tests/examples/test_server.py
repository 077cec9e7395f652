"""The server answers with detections, and whatever is sent, it goes on answering."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.server import CHUNK, Handler, Options, make_server
from models.autoshape import AutoShape
from tests.models.exports import CONF, NAMES, claimed_png, pictures, save_small, small_model
from tests.waiting import wait_until
from utils.errors import ResourceError, UsageError

ROOT = Path(__file__).resolve().parents[2]
LIMITS = {'max_bytes': 200_000, 'max_pixels': 1_000_000, 'seconds': 300.0, 'workers': 2, 'connections': 6}


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_small(tmp_path_factory.mktemp('weights') / 'small.safetensors', small_model())


@pytest.fixture(scope='module')
def server(weights):
    options = Options(weights=[weights], imgsz=96, conf_thres=CONF, device='cpu', port=0, **LIMITS)
    with make_server(options) as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield running
        running.shutdown()


def encoded(kind='PNG', size=(96, 64), mode='RGB', **options):
    image = Image.fromarray(pictures(64, 96, 3)).resize(size) if mode == 'RGB' else Image.new(mode, size)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ask(server, body=None, path='/detect', method='POST', headers=None):
    connection = http.client.HTTPConnection(*server.server_address, timeout=300)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        assert response.headers['Content-Type'] == 'application/json'
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def raw(server, data):
    with socket.create_connection(server.server_address, timeout=300) as connection:
        connection.sendall(data)
        return b''.join(iter(lambda: connection.recv(4096), b'')).decode()


def test_detections_as_json(server):
    status, found = ask(server, encoded())
    assert (status, found['width'], found['height']) == (200, 96, 64)
    model = AutoShape(server.model.backend)
    model.conf = CONF
    wanted = model(pictures(64, 96, 3), size=96).xyxy[0].numpy()
    assert len(found['detections']) == len(wanted) > 5
    for ours, theirs in zip(found['detections'], wanted):
        np.testing.assert_allclose(ours['box'], theirs[:4], atol=0.06)
        assert ours['confidence'] == pytest.approx(theirs[4], abs=1e-4)
        assert (ours['class'], ours['name']) == (theirs[5], NAMES[int(theirs[5])])


def test_about(server):
    status, about = ask(server, method='GET', path='/')
    assert (status, about['names'], about['max_pixels']) == (200, NAMES, 1_000_000)


@pytest.mark.parametrize(('body', 'status', 'message'), [
    (b'', 400, 'no picture'),
    (b'garbage' * 1000, 400, 'no picture'),
    (encoded('JPEG')[:2000], 400, 'unreadable'),
    (encoded('PNG')[:9000], 400, 'unreadable'),
    (encoded('GIF', mode='L'), 400, 'no picture'),
    (claimed_png(1001, 1000), 413, '1001 x 1000 pixels; 1,000,000 are allowed'),
    (claimed_png(20_000, 20_000), 413, 'pixels'),
    (bytes(200_001), 413, '200,001 bytes; 200,000 are allowed'),
    (bytes(900_000), 413, '900,000 bytes'),
])  # fmt: skip
def test_what_is_refused(server, body, status, message):
    got, content = ask(server, body)
    assert (got, message in content['error']) == (status, True), content
    assert ask(server, encoded())[0] == 200


def test_wrong_requests(server, monkeypatch):
    monkeypatch.setattr(server.opt, 'seconds', 0.5)
    assert ask(server, encoded(), path='/other')[0] == 404
    assert ask(server, method='GET', path='/detect')[0] == 404
    for length in ('', 'Content-Length: -1\r\n', 'Content-Length: x\r\n'):
        assert ' 411 ' in raw(server, f'POST /detect HTTP/1.1\r\n{length}\r\n'.encode())
    huge = f'POST /detect HTTP/1.1\r\nContent-Length: {"9" * 4000}\r\n\r\n'.encode()
    assert ' 413 ' in raw(server, huge)
    brew = raw(server, b'BREW / HTTP/1.1\r\n\r\n')
    assert ' 501 ' in brew
    assert json.loads(brew.split('\r\n\r\n')[1]) == {'error': "Unsupported method ('BREW')"}
    monkeypatch.undo()
    assert ask(server, encoded())[0] == 200


def test_slow_senders_run_out_of_time(server, monkeypatch):
    """A byte now and then, in head or body, keeps no connection open."""
    monkeypatch.setattr(server.opt, 'seconds', 0.5)
    head = b'POST /detect HTTP/1.1\r\nContent-Length: 1000\r\n\r\nabc'
    for start, said in ((b'POST /det', b'error'), (head, b' 408 ')):
        with socket.create_connection(server.server_address, timeout=300) as connection:
            connection.sendall(start)
            answer = b''
            connection.settimeout(0.2)
            while True:  # until the server answers or hangs up
                try:
                    connection.sendall(b'x')
                    answer = connection.recv(4096)
                    break
                except TimeoutError:
                    continue
                except OSError:
                    break
            assert said in answer


def refused(server) -> bool:
    try:
        return ask(server, encoded())[0] != 200
    except (OSError, http.client.HTTPException):
        return True


def test_at_most_so_many_at_a_time(server):
    idle = [socket.create_connection(server.server_address, timeout=300) for _ in range(LIMITS['connections'])]
    try:
        wait_until(lambda: refused(server))
    finally:
        for connection in idle:
            connection.close()
    wait_until(lambda: not refused(server))


def test_whoever_gets_no_turn_is_told(server, monkeypatch):
    monkeypatch.setattr(server.opt, 'seconds', 0.5)
    for _ in range(LIMITS['workers']):
        server.turns.acquire()
    try:
        assert ask(server, encoded()) == (503, {'error': 'busy, try again later'})
    finally:
        for _ in range(LIMITS['workers']):
            server.turns.release()
    monkeypatch.undo()
    assert ask(server, encoded())[0] == 200


def test_many_at_once_get_their_own_answers(server):
    bodies = [encoded('PNG', (96 + 8 * i, 64)) for i in range(5)]
    answers = [None] * len(bodies)

    def work(i):
        answers[i] = ask(server, bodies[i])[1]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found['width'] for found in answers] == [96, 104, 112, 120, 128]
    assert answers == [ask(server, body)[1] for body in bodies]


def test_a_bug_is_an_answer_too(server, monkeypatch):
    monkeypatch.setattr(AutoShape, '__call__', lambda *_, **__: 1 / 0)
    assert ask(server, encoded()) == (500, {'error': 'this picture could not be handled'})
    monkeypatch.undo()
    assert ask(server, encoded())[0] == 200


@pytest.mark.parametrize('option', [{'max_pixels': 0}, {'conf_thres': 25}, {'imgsz': 0}, {'port': 70000}])
def test_limits_make_sense(option):
    with pytest.raises(UsageError, match=': out of range'):
        make_server(Options(**option))


def test_a_port_that_is_taken_is_named(server, weights):
    host, port = server.server_address
    with pytest.raises(ResourceError, match=f'--host {host} --port {port}: can not be listened on .Address already'):
        make_server(Options(weights=[weights], device='cpu', port=port, imgsz=32))


def test_a_request_sends_no_commands_to_the_terminal(server, messages):
    raw(server, b'GET /\x1b[2J\xff HTTP/1.1\r\n\r\n')
    assert 'GET /?[2J? HTTP/1.1' in messages()


def test_the_command(weights):
    """It says where it listens, answers, and ends when told to."""
    words = [sys.executable, '-m', 'examples.server', '--weights', str(weights), '--img', '96', '--port', '0']
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = next(line for line in process.stderr if line.startswith('Listening: '))
            host, port = re.search(r'http://([\d.]+):(\d+)/detect', said).groups()
            connection = http.client.HTTPConnection(host, int(port), timeout=300)
            connection.request('POST', '/detect', encoded())
            assert connection.getresponse().status == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 128 + signal.SIGTERM
        finally:
            process.kill()
    assert os.path.exists(weights)


def test_a_refused_body_is_dropped_piece_by_piece():
    class Sender(io.RawIOBase):
        taken: list[int] = []  # noqa: RUF012

        def read1(self, size):
            self.taken.append(size)
            return bytes(min(size, 50_000))

    handler = Handler.__new__(Handler)
    handler.rfile = Sender()
    handler.drain(10_000_000)
    assert max(Sender.taken) == CHUNK
    assert len(Sender.taken) == 200


def test_a_thread_that_can_not_be_started_leaves_no_slot_taken(server, monkeypatch):
    def fail(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, 'start', fail)
        for _ in range(2 * LIMITS['connections']):
            ours, theirs = socket.socketpair()
            with ours, theirs, pytest.raises(RuntimeError, match="can't start"):
                server.process_request(theirs, ('a', 1))
    assert ask(server, encoded())[0] == 200


def test_long_names_are_cut_in_answers(server, monkeypatch):
    monkeypatch.setattr(server.model.backend, 'names', ['\x1b[2J' + 'x' * 100_000] * len(NAMES))
    _, limits = ask(server, method='GET', path='/')
    assert {len(name) for name in limits['names']} == {100}
    _, found = ask(server, encoded())
    assert {len(each['name']) for each in found['detections']} == {100}
