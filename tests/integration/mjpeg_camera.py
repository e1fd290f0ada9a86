"""A network camera over HTTP: MJPEG, as many give it, with the faults that tests ask for."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import cv2
import numpy as np
from typing_extensions import Self

FPS = 25


class MjpegCamera:
    """Gives a picture in which something moves, until `fault` says otherwise."""

    def __init__(self, size: tuple[int, int] = (160, 120)) -> None:
        self.size = size
        """Width and height of the pictures from now on."""
        self.fault: str | None = None
        """`frozen`, `black`, `silent` (connected, and nothing comes) or None."""
        self.connections = 0
        self._stopping = threading.Event()
        self._cut = threading.Event()
        self._refuse = False
        self._number = 0
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera._serve(self)

            def log_message(self, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}/stream.mjpg"

    def disconnect(self) -> None:
        """Ends the connection there is; a new one is served."""
        self._cut.set()

    def unplug(self) -> None:
        self._refuse = True
        self.disconnect()

    def plug_in(self) -> None:
        self._refuse = False

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        if self._refuse:
            request.send_error(503)
            return
        self.connections += 1
        self._cut.clear()
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        try:
            while not self._stopping.wait(1 / FPS) and not self._cut.is_set():
                if self.fault != "silent":
                    jpeg = self._picture()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}"
                    request.wfile.write(head.encode() + b"\r\n\r\n" + jpeg + b"\r\n")
        except OSError:
            return  # it was closed on the other side

    def _picture(self) -> bytes:
        width, height = self.size
        if self.fault != "frozen":
            self._number += 1
        picture = np.full((height, width, 3), 90, np.uint8)
        at = 8 * self._number % (width - 16)
        picture[height // 2 :, at : at + 16] = (20, 20, 220)
        if self.fault == "black":
            noise = np.random.default_rng(self._number).integers(0, 8, picture.shape)
            picture = noise.astype(np.uint8)
        return bytes(cv2.imencode(".jpg", picture)[1])
