"""Goal: a consumer that meets a broker in trouble leaves no socket behind.

Method: what paho does, with a server that hangs up in the middle of the handshake.
"""

import socket
import threading
from pathlib import Path

import pytest

from demo.pki import make_pki
from demo.tls import consumer_context


def test_a_socket_whose_handshake_failed_is_closed(tmp_path: Path) -> None:
    """Seen to bite: with an ordinary SSLContext it stays open until the garbage collector comes."""
    pki = make_pki(tmp_path, gateway_id="g1")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            listener.accept()[0].close()

        hangs_up = threading.Thread(target=hang_up)
        hangs_up.start()
        plain = socket.create_connection(listener.getsockname())
        wrapped = consumer_context(pki.ca_file, pki.client).wrap_socket(
            plain, server_hostname="localhost", do_handshake_on_connect=False
        )
        with pytest.raises(OSError, match=r".+"):
            wrapped.do_handshake()
        hangs_up.join()

    assert wrapped.fileno() == -1
