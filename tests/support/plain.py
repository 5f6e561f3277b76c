"""What a client of http:// is given: reading the world's certificates takes it 20 ms each time."""

import ssl

#: Trusts nobody. As httpx's ``verify``, in every client that opens no https:// URL.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
