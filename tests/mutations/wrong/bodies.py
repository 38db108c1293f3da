"""Wrong versions of what is stored: bodies that lie apart, compressed; parts that are shared."""

from __future__ import annotations

from typing import Final

from tests.mutations.wrong.entry import one

BODIES: Final = (
    one(
        "body-of-another-head",
        "S08",
        "stores/bodies.py",
        "        if len(data) != self.length or sha256(data).digest() != self.digest:\n",
        "        if len(data) != self.length:\n",
        "stores/test_joining.py::test_a_body_that_is_not_the_heads_is_a_miss",
    ),
    one(
        "frame-without-end",
        "D12",
        "stores/zstd.py",
        "body = decompressor.decompress(data, max_length=size + 1)",
        "body = decompressor.decompress(data)",
        "stores/test_zstd.py::test_d12_a_bomb_is_inflated_to_the_size_that_was_said_and_no_further",
    ),
    one(
        "frame-cut-short",
        "D12",
        "stores/zstd.py",
        "if len(body) != size or not decompressor.eof or decompressor.unused_data:",
        "if len(body) != size:",
        "stores/test_zstd.py::test_anything_but_one_whole_frame_of_that_size_is_corrupt",
    ),
    one(
        "frame-with-any-window",
        "D12",
        "stores/zstd.py",
        "_WINDOW_LOG: Final = 21",
        "_WINDOW_LOG: Final = 27",
        "stores/test_zstd.py::test_a_frame_with_a_vast_window_is_refused",
    ),
    one(
        "inflated-before-it-is-looked-at",
        "S08 D12",
        "stores/bodies.py",
        "        if len(data) != self.length or sha256(data).digest() != self.digest:\n",
        "        body = data if self.length == self.size else inflated(data, self.size)\n"
        "        if len(data) != self.length or sha256(data).digest() != self.digest:\n",
        "stores/test_zstd.py::test_a_frame_that_is_not_the_heads_is_a_miss_and_is_not_inflated",
    ),
    one(
        "shared-lines-by-name",
        "K05",
        "sharing.py",
        "@lru_cache(maxsize=MOST)\ndef _short_line(name: bytes, value: bytes) -> Line:\n"
        "    return _name(name), value\n",
        "_BY_NAME: dict[bytes, bytes] = {}\n\n\n"
        "def _short_line(name: bytes, value: bytes) -> Line:\n"
        "    return _name(name), _BY_NAME.setdefault(name, value)\n",
        "test_sharing.py::test_what_is_shared_is_what_was_asked_for",
    ),
    one(
        "shared-without-bound",
        "D01",
        "sharing.py",
        "    if len(name) > LONGEST:\n        return name, value\n",
        "",
        "test_sharing.py::test_nothing_long_is_held",
    ),
    one(
        "large-bodies-among-the-small",
        "X13",
        "stores/redis.py",
        '        (body,) = await self._connections.exchange("read", [command])\n',
        '        (body,) = await self._connections.join("read", [command])\n',
        "stores/test_joining.py::test_a_large_body_holds_up_no_small_one",
    ),
    one(
        "body-left-behind",
        "S15",
        "stores/writing.py",
        '            commands.append((b"UNLINK", body_place(place)))\n        commands',
        "            pass\n        commands",
        "stores/test_joining.py::test_a_large_body_lies_apart_and_ends_with_its_head",
    ),
)
