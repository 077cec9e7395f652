"""A network camera to test with: MJPEG over HTTP on 127.0.0.1, which can be switched off and on again."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

FPS = 50


class Camera:
    """Frame i of a connection is all of grey 10 i, 250 at most; with `frames` the connection ends after as many.

    A context manager; `address` stays the same when it is switched off and on.
    """

    def __init__(self, height: int = 48, width: int = 64, frames: int = 10**6) -> None:
        self.height, self.width, self.frames = height, width, frames
        self.port, self.connections = 0, 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        return f'http://127.0.0.1:{self.port}/camera'

    def on(self) -> Camera:
        self._server = ThreadingHTTPServer(('127.0.0.1', self.port), _Handler)
        self._server.camera, self._server.ends = self, threading.Event()
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def off(self) -> None:
        if self._server is not None:
            self._server.ends.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Camera:
        return self.on()

    def __exit__(self, *_: object) -> None:
        self.off()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        camera = self.server.camera
        camera.connections += 1
        self.send_response(200)
        self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=frame')
        self.end_headers()
        for i in range(camera.frames):
            grey = np.full((camera.height, camera.width, 3), min(10 * i, 250), np.uint8)
            data = cv2.imencode('.jpg', grey)[1].tobytes()
            head = f'--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n'
            try:
                self.wfile.write(head.encode() + data + b'\r\n')
            except OSError:
                return
            if self.server.ends.wait(1 / FPS):
                return

    def log_message(self, *_: object) -> None:
        """Nothing: tests read what the toolkit logs."""
