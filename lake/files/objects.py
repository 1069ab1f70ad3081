"""An object store (S3, or one that speaks its protocol): objects appear whole, and are read from one upload only.

Endpoint, region, profile and credentials come from the usual environment variables and files of AWS. Requests that are
throttled, answered with 5xx or cut off are repeated with growing, random pauses; a read that broke off goes on where
it ended.
"""

from __future__ import annotations

import io
import os
import random
import time
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
from pyarrow import fs

from lake.addresses import split
from lake.errors import StoreError, one_line
from lake.files.answers import absent, answered, no_bucket

_TOO_MANY = 429
_ATTEMPTS = 6
_LONGEST_PAUSE_SECONDS = 20.0
_CONNECT_SECONDS, _ANSWER_SECONDS = 10, 60
_PART_BYTES = 16 << 20
_AHEAD_BYTES = 1 << 20
"""A read of fewer bytes fetches this many: headers and footers are read in small pieces."""
_ENVIRONMENT = (
    "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID",
    "AWS_SESSION_TOKEN", "AWS_MAX_ATTEMPTS",
)  # fmt: skip
_OPTIONS = {
    "endpoint": _ENVIRONMENT[:2],
    "region": _ENVIRONMENT[2:4],
    "profile": (),
    "access_key": (),
    "secret_key": (),
    "session_token": (),
}
"""Options, and the environment variables used in their absence; those of profile and keys are read by boto3."""


class Found(NamedTuple):
    """A file or object: its bytes, what changes with its content (ETag), and its time of change in seconds."""

    size: int
    identity: str
    changed: float


class Upload(NamedTuple):
    """An upload in parts: the object that it will be, its identity, and when it began, in seconds."""

    place: str
    identity: str
    began: float


class Store:
    """A client of a store; ``options`` (``_OPTIONS``) override what the environment says."""

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self._options = dict(options or {})
        self._regions: dict[str, str] = {}

    @classmethod
    def of_environment(cls) -> Store:
        """The store that the environment names, one per process."""
        return _of_environment(os.getpid(), tuple(os.environ.get(name) for name in _ENVIRONMENT))

    def _option(self, name: str) -> str | None:
        named = (self._options.get(name), *(os.environ.get(variable) for variable in _OPTIONS[name]))
        return next((each for each in named if each), None)

    @property
    def _given_keys(self) -> dict[str, str | None]:
        return {name: self._options.get(name) for name in ("access_key", "secret_key", "session_token")}

    @cached_property
    def client(self) -> Any:
        """boto3's client: its retries are those of the mode 'standard', with growing, random pauses."""
        from boto3.session import Session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        access, secret, token = self._given_keys.values()
        config = Config(
            retries={"mode": "standard", "total_max_attempts": _attempts()},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_ANSWER_SECONDS,
            max_pool_connections=64,
        )
        try:
            session = Session(access, secret, token, self._option("region"), profile_name=self._option("profile"))
            region = session.region_name or "us-east-1"
            made = session.client("s3", region_name=region, endpoint_url=self._option("endpoint"), config=config)
        except (BotoCoreError, ValueError) as error:
            raise StoreError("the object store", one_line(error)) from error
        made.meta.events.register("needs-retry.s3", _too_many)
        return made

    def region(self, bucket: str) -> str:
        """The region of a bucket; the store reports it even to requests in another region, or without access."""
        from botocore.exceptions import ClientError

        if bucket not in self._regions:
            with answered(f"s3://{bucket}"):
                try:
                    answer = self.client.head_bucket(Bucket=bucket)["ResponseMetadata"]
                except ClientError as error:
                    answer = error.response["ResponseMetadata"]
            told = answer["HTTPHeaders"].get("x-amz-bucket-region")
            self._regions[bucket] = str(told or self.client.meta.region_name)
        return self._regions[bucket]

    def files(self, place: str) -> Iterator[tuple[str, Found]]:
        """Objects below a prefix, by their names below it."""
        bucket, key = split(place)
        prefix = f"{key}/" if key else ""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        with answered(place):
            for page in pages:
                for each in page.get("Contents", ()):
                    if not each["Key"].endswith("/"):  # a "folder" that a browser made
                        yield each["Key"].removeprefix(prefix), _found(each["Size"], each)

    def names(self, place: str) -> set[str]:
        """Names directly below a prefix, of objects and of prefixes."""
        bucket, key = split(place)
        prefix = f"{key}/" if key else ""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, Delimiter="/")
        with answered(place):
            found = [each for page in pages for each in (*page.get("Contents", ()), *page.get("CommonPrefixes", ()))]
        return {str(each.get("Key") or each["Prefix"]).removeprefix(prefix).rstrip("/") for each in found} - {""}

    def find(self, place: str) -> Found | None:
        """An object, or None where there is none."""
        bucket, key = split(place)
        if not key:
            return None
        try:
            with answered(place):
                facts = self.client.head_object(Bucket=bucket, Key=key)
        except FileNotFoundError:
            return None
        return _found(facts["ContentLength"], facts)

    def require_bucket(self, place: str) -> None:
        """Raise StoreError where the bucket does not exist."""
        bucket, _ = split(place)
        try:
            with answered(place):
                self.client.head_bucket(Bucket=bucket)
        except FileNotFoundError as error:
            raise no_bucket(place) from error

    def open(self, place: str) -> pa.PythonFile:
        """An object for reading at any position; FileNotFoundError where there is none."""
        found = self.find(place)
        if found is None:
            raise absent(place)
        return pa.PythonFile(_Reader(self, place, found), mode="r")

    def part(self, place: str, found: Found, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop`` of an object as it was ``found``; DataError if it was replaced since."""
        from botocore.exceptions import BotoCoreError

        (bucket, key), held = split(place), bytearray()
        for attempt in range(_attempts()):
            if len(held) == stop - start:
                break
            try:
                with answered(place):
                    wanted = f"bytes={start + len(held)}-{stop - 1}"
                    answer = self.client.get_object(Bucket=bucket, Key=key, Range=wanted, IfMatch=found.identity)
                for chunk in answer["Body"].iter_chunks(_AHEAD_BYTES):
                    held += chunk
            except BotoCoreError:  # the connection broke, or bytes were damaged on the way
                time.sleep(min(_LONGEST_PAUSE_SECONDS, random.random() * 2**attempt))
        if len(held) != stop - start:
            raise StoreError(place, "the connection breaks off before its end")
        return bytes(held)

    def put(self, place: str, content: BinaryIO) -> None:
        """Store a file as an object, which appears when all bytes have arrived and replaces one of the same name."""
        from boto3.exceptions import S3UploadFailedError
        from boto3.s3.transfer import TransferConfig

        bucket, key = split(place)
        config = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4)
        with answered(place):
            try:
                self.client.upload_fileobj(content, bucket, key, Config=config)
            except S3UploadFailedError as error:
                raise error.__context__ or error from None

    def remove(self, place: str) -> None:
        """Delete an object, if it is there."""
        bucket, key = split(place)
        with answered(place):
            self.client.delete_object(Bucket=bucket, Key=key)

    def uploads(self, place: str) -> Iterator[Upload]:
        """Unfinished uploads in parts below a prefix: their parts take space, though no reader sees them."""
        bucket, key = split(place)
        prefix = f"{key}/" if key else ""
        with answered(place):
            for page in self.client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
                for each in page.get("Uploads", ()):
                    yield Upload(f"s3://{bucket}/{each['Key']}", each["UploadId"], each["Initiated"].timestamp())

    def abort(self, upload: Upload) -> None:
        """Abort an unfinished upload, which deletes its parts."""
        bucket, key = split(upload.place)
        with answered(upload.place):
            self.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload.identity)

    def arrow(self, place: str) -> tuple[fs.FileSystem, str]:
        """Arrow's own file system of a bucket, for libraries that read through it, and the path in it."""
        bucket, key = split(place)
        options: dict[str, Any] = {name: value for name, value in self._given_keys.items() if value}
        if endpoint := self._option("endpoint"):
            options |= {"endpoint_override": endpoint, "scheme": endpoint.split(":")[0]}
        files = fs.S3FileSystem(
            region=self.region(bucket),
            connect_timeout=_CONNECT_SECONDS,
            request_timeout=_ANSWER_SECONDS,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_attempts()),
            **options,
        )
        return files, f"{bucket}/{key}".rstrip("/")

    def delta(self, place: str) -> dict[str, str]:
        """Options of delta-rs, besides the credentials of the environment."""
        options = {"AWS_REGION": self.region(split(place)[0]), "max_retries": str(_attempts() - 1)}
        endpoint = self._option("endpoint")
        return options | ({"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"} if endpoint else {})


@lru_cache(maxsize=8)
def _of_environment(process: int, values: tuple[str | None, ...]) -> Store:
    return Store()


def _too_many(response: tuple[Any, Any] | None = None, attempts: int = 1, **_: Any) -> float | None:
    """Seconds to wait after status 429, which stores other than Amazon's give and some versions of boto3 take as final.

    None leaves the decision to boto3.
    """
    status = getattr(response[0], "status_code", None) if response else None
    again = status == _TOO_MANY and attempts < _attempts()
    return random.random() * min(2 ** (attempts - 1), _LONGEST_PAUSE_SECONDS) if again else None


def _attempts() -> int:
    """Attempts of a request."""
    given = os.environ.get("AWS_MAX_ATTEMPTS", "")
    return max(1, int(given)) if given.isdecimal() else _ATTEMPTS


def _found(size: int, facts: Mapping[str, Any]) -> Found:
    return Found(int(size), facts["ETag"].strip('"'), facts["LastModified"].timestamp())


class _Reader(io.RawIOBase):
    """An object's bytes at any position, all of one upload."""

    def __init__(self, store: Store, place: str, found: Found) -> None:
        self._store, self._object, self._found = store, place, found
        self._at, self._first, self._held = 0, 0, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._found.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        rest = max(0, self._found.size - self._at)
        wanted = rest if size is None or size < 0 else min(size, rest)
        if not self._first <= self._at <= self._at + wanted <= self._first + len(self._held):
            stop = min(self._found.size, self._at + max(wanted, _AHEAD_BYTES))
            self._first, self._held = self._at, self._store.part(self._object, self._found, self._at, stop)
        content = self._held[self._at - self._first : self._at - self._first + wanted]
        self._at += len(content)
        return content
