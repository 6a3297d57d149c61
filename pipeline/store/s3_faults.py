"""What a failed request to an S3 server means: gone when asked again, or what to set.

Measured against AWS's list of errors, Ceph's gateway, OpenStack Swift and moto.
"""

from __future__ import annotations

from typing import Any

import urllib3.exceptions
from botocore import exceptions as boto

from pipeline.store.retry import Fault
from pipeline.store.settings import StoreSettings

_PASSING_CODES = {
    *("BadDigest", "IncompleteBody", "InternalError", "OperationAborted", "RequestTimeout"),
    *("ServiceUnavailable", "SlowDown", "ThrottlingException", "Throttling", "TooManyRequests"),
    *("XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "RequestLimitExceeded"),
}
_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504, 507, 509}
_PASSING_ERRORS = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    boto.ResponseStreamingError,
    boto.MetadataRetrievalError,
    boto.CredentialRetrievalError,
    boto.ChecksumError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)
_MISSING_CODES = {"404", "NoSuchKey", "NotFound"}
_KEYS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or store.access_key and store.secret_key "
    "in the recipe"
)


def code_of(error: Exception) -> str:
    """Return the server's code of an error, "" where it is not a server's."""
    return str(_answer_of(error).get("Error", {}).get("Code", ""))


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error, 0 where it is not a server's."""
    return int(_answer_of(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answer_of(error: Exception) -> dict[str, Any]:
    return error.response if isinstance(error, boto.ClientError) else {}


def is_missing(error: Exception) -> bool:
    """Tell whether an error says that there is no such object."""
    return code_of(error) in _MISSING_CODES


def fault_of(error: Exception, bucket: str, settings: StoreSettings) -> Fault | None:
    """Say what an exception of boto3 means; None if it is not a request's."""
    server = settings.endpoint or "the server"
    if isinstance(error, boto.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Fault(
            f"the certificate of {server} is not trusted",
            "set AWS_CA_BUNDLE, or store.ca_file, to the file of certificates that signs it",
        )
    if isinstance(error, boto.SSLError) and "WRONG_VERSION_NUMBER" in str(error):
        return Fault(f"{server} does not speak TLS", "use http:// for its endpoint")
    if isinstance(error, _PASSING_ERRORS):
        return Fault(_connection_reason(error, server), _connection_remedy(error), passing=True)
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return Fault(
            "no credentials found", f"{_KEYS}; for a public bucket, add ?anonymous=true to its URI"
        )
    if isinstance(error, boto.ClientError):
        return _answer(error, bucket, server)
    if isinstance(error, boto.BotoCoreError):
        return Fault(_one_line(error))
    return None


def _answer(error: boto.ClientError, bucket: str, server: str) -> Fault:
    code, status = code_of(error), status_of(error)
    message = str(error.response.get("Error", {}).get("Message") or "")
    said = f"HTTP {status}" if code in ("", str(status)) else f"HTTP {status} {code}"
    if message and message.lower() not in (code.lower(), "unknown"):
        said += f": {' '.join(message.split())[:200]}"
    if is_missing(error):
        return Fault("no such object", missing=True)
    if code == "NoSuchBucket":
        return Fault(f"there is no bucket {bucket!r} at {server}", _make_bucket(bucket, server))
    if code in _PASSING_CODES or status in _PASSING_STATUS:
        return Fault(said, passing=True)
    return Fault(said, _remedy(error, code, status))


def _make_bucket(bucket: str, server: str) -> str:
    where = f" --endpoint-url {server}" if "://" in server else ""
    return f"make it, for example with `aws s3 mb s3://{bucket}{where}`, or correct its name or the endpoint"


def _remedy(error: boto.ClientError, code: str, status: int) -> str:
    if status == 411 or code in ("MissingContentLength", "UnsupportedTrailer"):
        return (
            "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required, or store.checksums in the recipe: "
            "this server does not know the newer checksums of uploads"
        )
    if code == "RequestTimeTooSkewed":
        return "set this machine's clock: it is more than 15 minutes off the server's"
    if code in ("ExpiredToken", "TokenRefreshRequired", "InvalidToken"):
        return "renew the session's credentials: AWS_SESSION_TOKEN and its keys"
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthorizationHeaderMalformed"):
        return f"{_region_remedy(error)}{_KEYS}"
    if status in (301, 307) or code in ("PermanentRedirect", "IllegalLocationConstraintException"):
        return _region_remedy(error) or "set AWS_REGION, or store.region, to the bucket's region"
    if status in (401, 403):
        return (
            "the keys are wrong, or their policy lacks one of s3:ListBucket, s3:GetObject, s3:PutObject, "
            f"s3:DeleteObject, s3:AbortMultipartUpload; {_KEYS}"
        )
    return ""


def _region_remedy(error: boto.ClientError) -> str:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region")
    return f"set AWS_REGION={region}, or store.region; " if region else ""


def _connection_reason(error: Exception, server: str) -> str:
    if isinstance(error, (boto.EndpointConnectionError, boto.ConnectTimeoutError)):
        return f"{server} cannot be reached"
    if isinstance(error, (boto.ReadTimeoutError, urllib3.exceptions.TimeoutError, TimeoutError)):
        return f"{server} has fallen silent"
    if isinstance(error, boto.SSLError):
        return f"no TLS with {server}: {_one_line(error)[-160:]}"
    return f"the connection to {server} was cut"


def _connection_remedy(error: Exception) -> str:
    if isinstance(error, (boto.EndpointConnectionError, boto.SSLError)):
        return "check that it runs, and AWS_ENDPOINT_URL or store.endpoint"
    return ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
