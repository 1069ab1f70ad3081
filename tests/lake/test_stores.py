"""The simulated object store that tests share: nothing of an earlier test is left in it."""

from __future__ import annotations

import pytest

from tests.lake import stores

boto3 = pytest.importorskip("boto3")


def test_each_bucket_begins_empty_and_without_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        with stores.bucket(monkeypatch):
            client = boto3.client("s3")
            assert not stores.seen("left")
            assert client.list_objects_v2(Bucket=stores.NAME)["KeyCount"] == 0
            client.put_object(Bucket=stores.NAME, Key="left", Body=b"x")
            assert stores.seen("left")
            stores.fault("status", method="PUT", code=403, name="AccessDenied", times=100)
