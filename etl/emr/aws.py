"""Calls to AWS: a busy service is asked again, and each refusal becomes one sentence, without secrets."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ProfileNotFound,
)

from lake.errors import DataError, one_line

_PATIENT = Config(retries={"mode": "standard", "max_attempts": 8})
_BUSY = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded", "SlowDown", "TooManyRequestsException"})
_FORBIDDEN = frozenset({"403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled"})
_STALE = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidAccessKeyId", "AuthFailure",
     "SignatureDoesNotMatch", "UnrecognizedClientException"}
)  # fmt: skip
_NO_CREDENTIALS = "no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_SECRET_NAMES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_SECRET = re.compile(
    r"(?i)((?:secret|token|password|signature|credential)[\w.-]*[\"']?\s*[=:]\s*[\"']?)[^\s\"'&,;]+|\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b"
)
_CHUNK = 8 << 20


class BusyError(DataError):
    """AWS asks to be called less often, and still did when a call was repeated."""


def session(region: str) -> boto3.session.Session:
    """The user's AWS session in a region."""
    with explained(region):
        made = boto3.session.Session(region_name=region)
        if made.get_credentials() is None:
            raise DataError(_NO_CREDENTIALS)
    return made


def client(aws: boto3.session.Session, service: str) -> Any:
    """A client that repeats a call which the service refused because it is busy."""
    return aws.client(service, config=_PATIENT)


@contextmanager
def explained(region: str) -> Iterator[None]:
    """Raise what AWS refuses as DataError."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        kind = BusyError if code in _BUSY else DataError
        raise kind(redacted(_sentence(error, code, region))) from error
    except (NoCredentialsError, CredentialRetrievalError) as error:
        raise DataError(_NO_CREDENTIALS) from error
    except ProfileNotFound as error:
        raise DataError(f"{error}: set AWS_PROFILE to one of `aws configure list-profiles`") from error
    except EndpointConnectionError as error:
        raise DataError(f"AWS cannot be reached in {region}: check the network and the region ({error})") from error
    except BotoCoreError as error:
        raise DataError(redacted(f"AWS, region {region}: {one_line(error)}")) from error


def _sentence(error: ClientError, code: str, region: str) -> str:
    said = one_line(Exception(error.response.get("Error", {}).get("Message") or code))
    asked = f"{error.operation_name} in {region}"
    if code in _FORBIDDEN:
        return (
            f"AWS refuses {asked} ({said}): have that action allowed for your identity, or choose another AWS_PROFILE"
        )
    if code in _STALE:
        return f"AWS refuses your credentials for {asked} ({said}): renew them, or choose another AWS_PROFILE"
    if code in _BUSY:
        return f"AWS is too busy for {asked} ({said}): wait some minutes and run the command again"
    return f"AWS, {asked}: {said} ({code})"


def redacted(text: str) -> str:
    """Text without what may be a secret: this environment's own, key identifiers, and values named like one."""
    for name in _SECRET_NAMES:
        if value := os.environ.get(name):
            text = text.replace(value, "***")
    return _SECRET.sub(lambda found: f"{found[1] or ''}***", text)


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of an s3:// or s3a:// URI."""
    bucket, _, key = uri.split("://", 1)[1].partition("/")
    return bucket, key


def upload(s3: Any, content: bytes | Path, uri: str) -> str:
    """Store bytes or a file, read them back, and return their sha256; a difference is an error."""
    bucket, key = split(uri)
    if isinstance(content, Path):
        try:
            s3.upload_file(str(content), bucket, key)
        except S3UploadFailedError as error:  # its context is the error from AWS
            raise error.__context__ or error from None
        with content.open("rb") as file:
            digest = digest_of(file)
    else:
        s3.put_object(Bucket=bucket, Key=key, Body=content)
        digest = hashlib.sha256(content).hexdigest()
    stored = digest_of(s3.get_object(Bucket=bucket, Key=key)["Body"])
    if stored != digest:
        raise DataError(f"{uri} does not contain what was uploaded (sha256 {stored}, expected {digest})")
    return digest


def digest_of(file: BinaryIO) -> str:
    """The sha256 of a stream."""
    found = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        found.update(chunk)
    return found.hexdigest()


def held(s3: Any, uri: str) -> bool:
    """Whether an object exists."""
    bucket, key = split(uri)
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            return False
        raise
    return True
