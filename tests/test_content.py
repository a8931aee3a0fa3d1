import hashlib

import pytest

from videolib.content import content_digest

MB = 1 << 20


def test_a_file_is_told_by_its_size_and_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    assert content_digest(path) == hashlib.sha256(b"5:bytes").hexdigest()[:32]
    copy = path.with_name("copy")
    copy.write_bytes(b"bytes")
    assert content_digest(copy) == content_digest(path)


@pytest.mark.parametrize(("place", "is_read"), [(0, True), (MB + MB // 8, False), (20 * MB - 1, True)])
def test_of_a_large_file_some_parts_are_read(tmp_path, place, is_read):
    path = tmp_path / "large"
    data = bytearray(20 * MB)
    path.write_bytes(data)
    before = content_digest(path)
    data[place] = 1
    path.write_bytes(data)
    assert (content_digest(path) != before) is is_read
