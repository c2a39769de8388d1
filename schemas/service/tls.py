"""TLS settings that Kafka and ClickHouse share, and the SSL context that all their clients use.

One context for every client means one set of rules: the CA file or the system's CA store, the client certificate with its key,
and the host name check. OpenSSL's variables `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the system's CA store.
"""

import ssl
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from schemas.errors import ConfigError


class TlsSettings(BaseModel):
    """TLS settings of one server. They have an effect only where the connection uses TLS."""

    model_config = ConfigDict(frozen=True)

    ssl_cafile: str | None = Field(
        default=None,
        description="PEM file of the CA that signed the server's certificate. Without it, the system's CA store counts.",
    )
    ssl_certfile: str | None = Field(
        default=None, description="PEM file of the client certificate, for a server that requires one (mutual TLS)."
    )
    ssl_keyfile: str | None = Field(
        default=None, description="PEM file of the client certificate's key. Without it, the key is in the certificate's file."
    )
    ssl_password: SecretStr = Field(default=SecretStr(""), description="Password of an encrypted client key.")
    ssl_check_hostname: bool = Field(
        default=True, description="Check that the server's certificate names the host. Without the check, only the CA counts."
    )

    def setting(self, field: str) -> str:
        """Return the name under which a person sets `field`; error texts use it."""
        return field

    def ssl_context(self) -> ssl.SSLContext:
        """Build the context for client connections. Raises ConfigError for a file that is missing or does not fit."""
        context = self._trust()
        context.check_hostname = self.ssl_check_hostname
        if self.ssl_certfile:
            self._present(context, self.ssl_certfile)
        elif self.ssl_keyfile:
            raise ConfigError(f"{self.setting('ssl_keyfile')} needs a client certificate: set {self.setting('ssl_certfile')}")
        return context

    def _trust(self) -> ssl.SSLContext:
        """Trust the CA file or the system's store."""
        if self.ssl_cafile:
            self._check_readable("ssl_cafile", self.ssl_cafile)
        try:
            return ssl.create_default_context(cafile=self.ssl_cafile)
        except ssl.SSLError:
            raise ConfigError(f"{self.setting('ssl_cafile')}: {self.ssl_cafile} holds no PEM certificate") from None

    def _present(self, context: ssl.SSLContext, certificate: str) -> None:
        """Load the client certificate and its key. The empty password keeps OpenSSL from asking on the terminal."""
        self._check_readable("ssl_certfile", certificate)
        if self.ssl_keyfile:
            self._check_readable("ssl_keyfile", self.ssl_keyfile)
        try:
            context.load_cert_chain(certificate, self.ssl_keyfile, self.ssl_password.get_secret_value())
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(self._describe_rejected_key(certificate, error)) from None

    def _describe_rejected_key(self, certificate: str, error: Exception) -> str:
        key = self.ssl_keyfile or certificate
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            return f"{self.setting('ssl_keyfile')}: the key in {key} does not belong to the certificate in {certificate}"
        if "ENCRYPTED" in Path(key).read_text(errors="replace"):
            return f"{self.setting('ssl_password')} does not decrypt the client key in {key}: set it to the key's password"
        return f"{self.setting('ssl_certfile')}: {certificate} and {key} hold no PEM certificate with its key"

    def _check_readable(self, field: str, path: str) -> None:
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"{self.setting(field)}: cannot read {path}: {error.strerror}") from None
