"""What a client of the server is told, in OpenAI's shape."""

from __future__ import annotations

from banyan.security.errors import BanyanError


class ServingError(BanyanError):
    """A model cannot be served or exported as asked."""


class RequestRefused(ServingError):
    """A request is not answered. ``code`` is OpenAI's where it has one; ``param`` is the field at fault."""

    def __init__(
        self,
        what: str,
        cure: str = "",
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(what, cure)
        self.status = status
        self.code = code
        self.param = param

    @property
    def kind(self) -> str:
        """OpenAI's ``type`` of the error."""
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        return kinds.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")

    def plain(self) -> dict[str, object]:
        """The JSON body."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


class ContextExceeded(RequestRefused):
    """A prompt leaves no room for an answer."""

    def __init__(self, tokens: int, context: int, param: str = "messages") -> None:
        super().__init__(
            f"The prompt has {tokens:,} tokens, and this model's context length is {context:,}, answer included",
            "Shorten the prompt",
            code="context_length_exceeded",
            param=param,
        )
