"""TLS as a consumer of the namespace uses it."""

import ssl
from pathlib import Path
from typing import Any

from demo.pki import Identity


class ClosingSocket(ssl.SSLSocket):
    """Closes itself when its handshake fails; paho leaves that to the garbage collector."""

    def do_handshake(self, *args: Any, **options: Any) -> None:
        """Shake hands, or close and raise."""
        try:
            super().do_handshake(*args, **options)
        except OSError:
            self.close()
            raise


def consumer_context(ca_file: Path, identity: Identity) -> ssl.SSLContext:
    """Return a context that trusts one authority and shows one certificate, TLS 1.3 and newer."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(identity.cert_file, identity.key_file)
    context.sslsocket_class = ClosingSocket
    return context
