"""Stands in for a server of the center: gRPC health, HTTP pages where it has any, and what it was given."""

from __future__ import annotations

import http.server
import json
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def main() -> int:
    name = sys.argv[1]
    record = Path(os.environ["PAYCENTER_DATA_DIRECTORY"]) / "stand_ins"
    record.mkdir(exist_ok=True)
    given = {key: value for key, value in os.environ.items() if key.startswith(("PAYCENTER_", "TEST_"))}
    (record / f"{name}.json").write_text(json.dumps(given))
    if os.environ.get("TEST_FAIL"):
        print("the stand-in was told to fail", file=sys.stderr)
        return 3
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    for variable in ("PAYCENTER_SANDBOX_PORT", "PAYCENTER_NOTICE_PORT"):
        if variable in os.environ:
            page = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ[variable])), _Page)
            threading.Thread(target=page.serve_forever, daemon=True).start()
    server = grpc.server(ThreadPoolExecutor(max_workers=1), options=[("grpc.so_reuseport", 0)])
    if "PAYCENTER_PORT" in os.environ:
        servicer = health.HealthServicer()  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
        server.add_insecure_port(f"127.0.0.1:{os.environ['PAYCENTER_PORT']}")
        server.start()
        servicer.set("", health_pb2.HealthCheckResponse.SERVING)  # type: ignore[no-untyped-call]
    print(f"{name} is ready", flush=True)
    stopping.wait()
    with (record / "stop_order").open("a") as order:
        order.write(f"{name}\n")
    server.stop(0).wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
