"""The HTTP API: routes over the use cases, with tokens and an OpenAPI description."""
