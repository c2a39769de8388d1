"""Pages of a local process over HTTP, also those that answer with an error status."""

import urllib.error
import urllib.request


def read_page(address: str) -> tuple[int, str]:
    """Return status and body. Raises OSError if no server answers."""
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
