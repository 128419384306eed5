"""`kfp.Client` with an end to every wait, and its errors in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any

import kfp
import kfp_server_api
import urllib3

from modules.errors import ConfigError, UserError
from pipeline.clusters.remote import ANSWER_SECONDS, CONNECT_SECONDS, sentence

_TIMEOUT = (CONNECT_SECONDS, ANSWER_SECONDS)
# One retry of what never reached the server or may be asked twice.
_RETRIES = urllib3.Retry(total=None, connect=1, read=1, redirect=5, status=0, other=0)
_REMEDIES = {
    401: "sign in, for example with --iap_client_id, or reach it with kubectl port-forward",
    403: "ask for access to the namespace, or name yours with --namespace",
    404: "look at `tfx-distill pipeline list` or `tfx-distill run list`, and at --endpoint",
    409: "take another name, or `tfx-distill pipeline update`",
}


class Client(kfp.Client):
    """`kfp.Client`, whose requests would otherwise wait and be repeated without end."""

    def __init__(self, **arguments: Any):
        super().__init__(**arguments)
        rest = self._run_api.api_client.rest_client
        rest.request = _bounded(rest.request)

    @property
    def address(self) -> str:
        """Of the API."""
        return str(self._existing_config.host)

    @property
    def pages(self) -> str:
        """Of the user interface."""
        return str(self._get_url_prefix()).rstrip("/")

    def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
        """Once: the client's own tries five times, and waits for each answer for ever."""
        return self._healthz_api.healthz_service_get_healthz(_request_timeout=_TIMEOUT)

    def _load_config(self, *arguments: Any) -> Any:
        config = super()._load_config(*arguments)
        if config.host == kfp_server_api.Configuration().host:
            raise ConfigError(
                "--endpoint must be the URL of Kubeflow Pipelines' API, since neither a cluster "
                "nor a kubeconfig is found here; give it, set runtime.kubeflow.endpoint, or set "
                "KF_PIPELINES_ENDPOINT"
            )
        config.retries = _RETRIES
        return config


def _bounded(request: Callable[..., Any]) -> Callable[..., Any]:
    """Gives each request a timeout; a page to sign in at is no answer, though it has status 200."""

    @wraps(request)
    def bounded(*arguments: Any, **options: Any) -> Any:
        options["_request_timeout"] = options.get("_request_timeout") or _TIMEOUT
        response = request(*arguments, **options)
        if "html" in response.getheader("content-type", ""):
            raise UserError(
                f"{arguments[1].split('/apis/')[0]}: answers with a web page instead of Kubeflow "
                "Pipelines' API; correct --endpoint (often it ends in /pipeline), or sign in"
            )
        return response

    return bounded


def reason(error: Exception) -> str:
    """What went wrong, and what to do, as the end of one line."""
    if isinstance(error, kfp_server_api.ApiException) and error.status:
        remedy = _REMEDIES.get(error.status, "")
        message = f"refuses with {error.status} {error.reason}: {_message(error)}"
        return f"{message}; {remedy}" if remedy else message
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason:
        return reason(error.reason)
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        return f"has not answered within {ANSWER_SECONDS:.0f} s; try again later"
    if isinstance(error, urllib3.exceptions.HTTPError):
        return f"cannot be reached ({sentence(error)}); correct --endpoint or start it"
    return f"{type(error).__name__}: {sentence(error)}"


def _message(error: kfp_server_api.ApiException) -> str:
    """The server's sentence out of its JSON, or the text that it has sent."""
    try:
        body = json.loads(error.body)
        return sentence(body.get("message") or body.get("error") or body)
    except (TypeError, ValueError, AttributeError):
        return sentence(error.body or "no reason given")
