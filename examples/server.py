"""An inference server: POST a picture, get what is on it as JSON. Standard library and the Python API.

    python -m examples.server --weights yolov5n.pt
    curl --data-binary @picture.jpg http://127.0.0.1:8000/detect

    {"width": 810, "height": 1080,
     "detections": [{"name": "person", "class": 0, "confidence": 0.876, "box": [55.2, 397.7, 210.8, 889.4]}, ...]}

Boxes are x1, y1, x2, y2 in pixels. GET / tells classes and limits. Errors are {"error": "..."} with a status of 400
and up. What one request may cost is limited: bytes, pixels (read from the header, before anything is decoded), seconds
to send it, requests at a time. It has no encryption and no passwords: beyond this machine, put it behind a proxy.
"""

from __future__ import annotations

import io
import json
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from PIL import Image

from utils.data.image_header import open_with_pillow
from utils.device_choice import claim_device
from utils.errors import ResourceError, UserError, check_range, run_main, sigterm_as_ctrl_c
from utils.log import LOGGER, set_logging
from utils.options import option, parse_options
from utils.terminal import LONGEST_NAME, shortened

if TYPE_CHECKING:
    from models.autoshape import AutoShape
    from models.detections import Detections

CHUNK = 1 << 16  # bytes
FORMATS = ('JPEG', 'PNG', 'WEBP', 'BMP')  # Pillow's decoders for others are less well tried


@dataclass
class Options:
    """Of the command line."""

    weights: list = option(['yolov5s.pt'], nargs='+', help='checkpoint or exported file, or several to run as one')
    imgsz: int = option(640, '--imgsz', '--img', '--img-size', help="pixels of the longer side in the network's input")
    conf_thres: float = option(0.25, help='least confidence')
    iou_thres: float = option(0.45, help='IoU above which a box suppresses another')
    device: str = option('', help='cpu or a GPU number such as 0')
    host: str = option('127.0.0.1', help='address to listen on; 0.0.0.0 for all of this machine')
    port: int = option(8000, help='port to listen on; 0 for any that is free')
    max_bytes: int = option(10_000_000, help='largest body of a request')
    max_pixels: int = option(25_000_000, help='largest picture')
    seconds: float = option(10.0, help='time for a request to arrive, and then to wait for its turn')
    workers: int = option(2, help='pictures decoded and looked at at a time')
    connections: int = option(32, help='requests at a time; further ones are turned away')


class Refusal(Exception):
    """A request that gets an error: status and text."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server(ThreadingHTTPServer):
    """A thread for each request, of which there are only so many at a time."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, opt: Options, model: AutoShape) -> None:
        self.opt, self.model = opt, model
        self.room = threading.BoundedSemaphore(opt.connections)
        self.turns = threading.BoundedSemaphore(opt.workers)
        super().__init__((opt.host, opt.port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.room.acquire(blocking=False):
            self.shutdown_request(request)  # without an answer: that could block all others
            return
        try:
            super().process_request(request, client_address)
        except Exception:  # no thread could be started, which would have made room again
            self.room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        LOGGER.warning(f'{client_address[0]}: not answered ({sys.exc_info()[1]})')

    def detect(self, body: bytes) -> dict[str, Any]:
        """The answer to a picture.

        Raises:
            Refusal: it is none, is too large, or there was no turn for it in time.
        """
        image = open_picture(body, self.opt.max_pixels)
        with self.turn():
            try:
                return answer(self.model(image, size=self.opt.imgsz))
            except UserError as problem:
                raise Refusal(HTTPStatus.BAD_REQUEST, str(problem)) from None
            except MemoryError:
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, 'too little memory at the moment') from None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One of the few places where pictures are decoded and looked at."""
        if not self.turns.acquire(timeout=self.opt.seconds):
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, 'busy, try again later')
        try:
            yield
        finally:
            self.turns.release()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def setup(self) -> None:
        super().setup()
        # Whoever sends a byte now and then would never run into a socket's own time limit.
        self.alarm = threading.Timer(self.server.opt.seconds, self.connection.shutdown, [socket.SHUT_RD])
        self.alarm.start()

    def finish(self) -> None:
        self.alarm.cancel()
        super().finish()

    def do_GET(self) -> None:
        opt = self.server.opt
        if self.path != '/':
            self.reply(HTTPStatus.NOT_FOUND, {'error': 'POST a picture to /detect'})
            return
        limits = {'max_bytes': opt.max_bytes, 'max_pixels': opt.max_pixels, 'formats': FORMATS}
        names = [shortened(name, LONGEST_NAME) for name in self.server.model.names]
        self.reply(HTTPStatus.OK, {'names': names, **limits})

    def do_POST(self) -> None:
        try:
            body = self.body()
            if self.path != '/detect':
                raise Refusal(HTTPStatus.NOT_FOUND, 'POST a picture to /detect')
            status, content = HTTPStatus.OK, self.server.detect(body)
        except Refusal as refusal:
            status, content = refusal.status, {'error': str(refusal)}
        except Exception:
            LOGGER.exception('a bug, or a kind of picture not thought of')
            status, content = HTTPStatus.INTERNAL_SERVER_ERROR, {'error': 'this picture could not be handled'}
        self.reply(status, content)

    def body(self) -> bytes:
        """The request's body, whole.

        Raises:
            Refusal: it says no length, is too large, or does not arrive.
        """
        said = self.headers.get('Content-Length', '')
        if not (said.isascii() and said.isdecimal()):
            raise Refusal(HTTPStatus.LENGTH_REQUIRED, 'say the Content-Length')
        length, most = int(said[:20]), self.server.opt.max_bytes
        if length > most:
            self.drain(min(length, 4 * most))
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f'{length:,} bytes; {most:,} are allowed')
        body = self.rfile.read(length)
        self.alarm.cancel()
        if len(body) < length:
            raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f'only {len(body):,} of {length:,} bytes arrived')
        return body

    def drain(self, length: int) -> None:
        """Take what is being sent and drop it, or the answer may get lost: some clients send before they listen."""
        while length > 0 and (piece := self.rfile.read1(min(length, CHUNK))):
            length -= len(piece)

    def reply(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the standard library refuses by itself, in our form."""
        self.reply(HTTPStatus(code), {'error': message or HTTPStatus(code).phrase})

    def log_message(self, form: str, *values: object) -> None:
        text = re.sub('[^ -~]', '?', form % values)  # what a request says could be commands to a terminal
        LOGGER.info(f'{self.address_string()}: {text}')


def open_picture(body: bytes, max_pixels: int) -> Image.Image:
    """The picture of a request: its header is read, nothing is decoded yet."""
    try:
        image = open_with_pillow(io.BytesIO(body), FORMATS)
    except Image.DecompressionBombError:
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f'more than {max_pixels:,} pixels') from None
    except Exception:  # what Pillow raises on damaged files is of any kind
        raise Refusal(HTTPStatus.BAD_REQUEST, f'no picture that can be read; send {", ".join(FORMATS)}') from None
    width, height = image.size
    if width * height > max_pixels:
        message = f'{width} x {height} pixels; {max_pixels:,} are allowed'
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
    return image


def answer(results: Detections) -> dict[str, Any]:
    """The detections on one picture as plain data."""
    height, width = results.ims[0].shape[:2]
    found = [
        {
            'name': shortened(results.names[int(c)], LONGEST_NAME),
            'class': int(c),
            'confidence': round(conf, 4),
            'box': [round(v, 1) for v in box],
        }
        for *box, conf, c in results.xyxy[0].numpy().tolist()
    ]
    return {'width': width, 'height': height, 'detections': found}


def make_server(opt: Options) -> Server:
    """A server that listens, and answers once its `serve_forever` is called."""
    from models.autoshape import AutoShape
    from models.backend import load_backend

    for name in ('imgsz', 'max_bytes', 'max_pixels', 'workers', 'connections'):
        check_range(name, getattr(opt, name), 1)
    check_range('seconds', opt.seconds, 0.1)
    for name in ('conf_thres', 'iou_thres'):
        check_range(name, getattr(opt, name), 0, 1)
    check_range('port', opt.port, 0, 65535)
    model = AutoShape(load_backend(opt.weights, opt.device))
    model.conf, model.iou = opt.conf_thres, opt.iou_thres
    model.backend.warmup((1, 3, opt.imgsz, opt.imgsz))
    try:
        return Server(opt, model)
    except OSError as problem:
        raise ResourceError(
            f'--host {opt.host} --port {opt.port}: can not be listened on ({problem.strerror})', 'give others'
        ) from None


def main(argv: list[str] | None = None) -> None:
    set_logging()
    opt = parse_options(Options, argv, 'Detect objects on pictures sent by HTTP', 'python -m examples.server')
    claim_device(opt.device)
    with sigterm_as_ctrl_c(), make_server(opt) as server:
        host, port = server.server_address[:2]
        LOGGER.info(f'Listening: curl --data-binary @picture.jpg http://{host}:{port}/detect')
        server.serve_forever()


if __name__ == '__main__':
    sys.exit(run_main(main))
