"""nginx and Varnish before the app: the servers that people put there, as processes of ours."""

from __future__ import annotations

import contextlib
import getpass
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.peers.environments import program
from benchmarks.processes import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

NGINX: Final = """
{user}
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  default_type application/json;
  tcp_nopush on;
  keepalive_requests 1000000000;
  open_file_cache max=1000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=pages:16m inactive=1h;
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location / {{
      proxy_pass http://127.0.0.1:{origin};
      proxy_cache pages;
      proxy_cache_lock on;
      add_header X-Cache $upstream_cache_status;
    }}
  }}
}}
"""
VARNISH: Final = """
vcl 4.1;
backend origin {{ .host = "127.0.0.1"; .port = "{origin}"; }}
# Without this Varnish passes every request with a cookie.
sub vcl_recv {{ unset req.http.Cookie; }}
sub vcl_deliver {{
  if (obj.hits > 0) {{ set resp.http.X-Cache = "HIT"; }} else {{ set resp.http.X-Cache = "MISS"; }}
}}
"""


@contextlib.contextmanager
def proxy_before(name: str, origin: int, workers: int) -> Iterator[tuple[int, int]]:
    """The port and the process of *name*, ``nginx`` or ``varnishd``, before the app on *origin*."""
    binary = program(name)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-proxy-") as directory:
        folder = Path(directory)
        if name == "nginx":
            # Its workers would be another user's, who may not write here.
            user = "user root;" if getpass.getuser() == "root" else ""
            text = NGINX.format(user=user, workers=workers, folder=folder, port=port, origin=origin)
            (folder / "nginx.conf").write_text(text)
            command = [binary, "-p", directory, "-c", str(folder / "nginx.conf")]
        else:
            (folder / "pages.vcl").write_text(VARNISH.format(origin=origin))
            command = [binary, "-F", "-j", "none", "-n", str(folder / "work"), "-a"]
            command += [f"127.0.0.1:{port}", "-f", str(folder / "pages.vcl"), "-s", "malloc,64m"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(port, process, name)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait()
