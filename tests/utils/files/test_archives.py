"""Archives: what they unpack to comes back, and what unpacks to too much is refused before it is there."""

import bz2
import gzip
import io
import lzma
import zipfile

import pytest

from pointrecon.utils.errors import InputError
from pointrecon.utils.files.archives import MAX_HEADER, UnpackedStream, check_member, open_zip
from pointrecon.utils.files.checks.limits import LimitError, read_bytes

CONTENT = b"".join(number.to_bytes(3, "big") for number in range(900_000))
COMPRESS = {
    "plain": bytes,
    "gz": gzip.compress,
    "xz": lambda data: lzma.compress(data, preset=0),
    "bz2": bz2.compress,
}


def stream(data, growth=16, size=None):
    return UnpackedStream(io.BytesIO(data), len(data) if size is None else size, growth)


@pytest.mark.parametrize("kind", COMPRESS)
def test_streams_are_read_forwards(kind):
    found = stream(COMPRESS[kind](CONTENT))
    assert found.readable() and found.seekable()
    assert found.read(100) == CONTENT[:100] and found.tell() == 100
    assert found.seek(1_500_000) == 1_500_000 and found.read(7) == CONTENT[1_500_000:1_500_007]
    rest = b"".join(iter(lambda: found.read(1 << 20), b""))
    assert rest == CONTENT[1_500_007:] and found.read(5) == b"" and found.seek(1 << 40) == len(CONTENT)
    with pytest.raises(ValueError, match="forwards"):
        found.seek(0)


def test_a_stream_ends_where_its_place_in_the_file_does():
    assert stream(b"abcdefghij", size=8).read(20) == b"abcdefgh"
    data = gzip.compress(b"abc")
    assert stream(data + b"\0" * 100).read(20) == b"abc"


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2"])
def test_what_is_cut_off_is_told(kind):
    found = stream(COMPRESS[kind](CONTENT)[:-30])
    with pytest.raises(EOFError, match="cut off"):
        found.seek(len(CONTENT) + 1)


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2"])
def test_what_unpacks_to_too_much_is_refused(kind):
    found = stream(COMPRESS[kind](bytes(80 << 20)))
    with pytest.raises(LimitError, match="at most"):
        found.seek(1 << 40)
    assert found.tell() <= 70 << 20


@pytest.mark.parametrize("size", [-1, MAX_HEADER + 1])
def test_nobody_asks_for_everything_at_once(size):
    with pytest.raises(LimitError, match="at once"):
        stream(b"abcdefgh").read(size)


def test_xz_with_an_absurd_dictionary_is_refused():
    big = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}]
    with pytest.raises(lzma.LZMAError):
        stream(lzma.compress(b"x", filters=big)).read(1)


def write_zip(path, content, kind=zipfile.ZIP_DEFLATED, count=1):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for number in range(count):
            archive.writestr(f"{number}.npy", content)
    return path


def test_zip_files(tmp_path):
    with open_zip(write_zip(tmp_path / "a.zip", b"abc")) as archive:
        assert archive.read("0.npy") == b"abc"
    for kind in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):  # Python unpacks both without a limit
        with pytest.raises(LimitError, match="use deflate"):
            open_zip(write_zip(tmp_path / "a.zip", b"abc", kind))
    with pytest.raises(LimitError, match="at most"):
        open_zip(write_zip(tmp_path / "a.zip", bytes(100 << 20)))
    with pytest.raises(LimitError, match="at most"):
        open_zip(write_zip(tmp_path / "a.zip", bytes(40 << 20), count=4))


def test_a_member_that_claims_to_be_large_in_the_archive_is_none():
    info = zipfile.ZipInfo("a")
    info.file_size = info.compress_size = 1 << 40
    with pytest.raises(LimitError, match="1,000 bytes in it unpack to"):
        check_member(info, 1000)


def test_whole_files_have_a_limit(tmp_path):
    (tmp_path / "a").write_bytes(b"abcd")
    assert read_bytes(tmp_path / "a", 4) == b"abcd"
    with pytest.raises(InputError, match="has 4 bytes, but such files have 3 at most"):
        read_bytes(tmp_path / "a", 3)
