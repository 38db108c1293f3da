"""Wrong versions of stores: trust, bounds, connections, failures."""

from __future__ import annotations

from typing import Final

from tests.mutations.wrong.entry import Change, Wrong, one

CRC = "if data[_HEAD_BYTES:_CHECKED_AT] != _CHECKSUM.pack(crc32(payload)):"

STORES: Final = (
    one(
        "pickle-without-a-head",
        "S01",
        "stores/sealing.py",
        '        raise CorruptRecord("not a record of this revision")\n',
        '        __import__("pickle").loads(data)\n',
        "stores/test_codec.py::test_s01_a_pickle_is_not_loaded",
        named="a decoder that loads objects (pickle)",
    ),
    Wrong(
        "pickle-behind-a-head",
        "S01",
        (
            Change(
                "stores/codec.py",
                "        return _record(_objects(payload), key, place)\n",
                '        if payload[:1] == b"\\x80":\n'
                '            return _record(__import__("pickle").loads(payload), key, place)\n'
                "        return _record(_objects(payload), key, place)\n",
            ),
            Change("stores/sealing.py", CRC, f"if payload[:1] != b'\\x80' and {CRC[3:]}"),
        ),
        ("stores/test_codec.py::test_s01_a_pickle_is_not_loaded",),
        "a decoder that loads objects (pickle)",
    ),
    one(
        "checksum-unread",
        "S03",
        "stores/sealing.py",
        CRC,
        "if False:",
        "stores/test_codec.py::test_s03_flipped_bits_never_make_another_record",
    ),
    one(
        "any-revision-read",
        "S05",
        "stores/sealing.py",
        "if data[:_HEAD_BYTES] != _CHECKED:",
        "if data[:3] != _CHECKED[:3]:",
        "stores/test_codec.py::test_s05_other_revisions_are_refused",
    ),
    one(
        "forged-set-cookie-served",
        "S08 P11",
        "stores/soundness.py",
        "        and _NEVER_STORED.isdisjoint(names)\n",
        "",
        "stores/test_codec.py::test_s08_forged_responses_are_refused",
    ),
    one(
        "forged-line-served",
        "S08 P11",
        "stores/soundness.py",
        '        and is_field_value(b"".join(values))\n',
        '        and isinstance(b"".join(values), bytes)\n',
        "stores/test_codec.py::test_s08_forged_responses_are_refused",
    ),
    one(
        "forged-status-served",
        "S08",
        "stores/soundness.py",
        "        and 200 <= status <= 599\n        and status not in _PARTIAL\n",
        "",
        "stores/test_codec.py::test_s08_forged_responses_are_refused",
    ),
    one(
        "forged-length-served",
        "S08",
        "stores/soundness.py",
        "        and _is_length(names, values, length)\n",
        "",
        "stores/test_codec.py::test_s08_a_response_that_would_not_go_out_whole_is_none",
    ),
    one(
        "bombs-unpacked",
        "D12",
        "stores/codec.py",
        "        max_array_len=0,\n",
        "        max_array_len=2**21,\n",
        "stores/test_codec.py::test_d12_bombs_cost_neither_time_nor_memory",
    ),
    one(
        "oversized-value-fetched",
        "S09",
        "stores/redis.py",
        'self._memo, b"%d" % self._max_record_bytes)',
        'self._memo, b"-1")',
        "stores/test_redis.py::test_s09_an_oversized_value_is_not_even_fetched",
    ),
    one(
        "memory-without-bound",
        "D01 D02",
        "stores/memory.py",
        "LRUCache(max_bytes, getsizeof=size_of)",
        "LRUCache(2**62, getsizeof=_size_of)",
        "stores/test_memory.py::test_the_budget_holds_and_the_least_recently_used_goes_first",
        named="an unbounded memory store",
    ),
    one(
        "memory-counts-records-not-bytes",
        "D01",
        "stores/memory.py",
        "    size += _RESPONSE + _BYTES_OBJECT + len(value.body)\n",
        "    size += _RESPONSE + _BYTES_OBJECT\n",
        "stores/test_memory.py::test_every_part_of_a_response_is_accounted",
        named="an unbounded memory store",
    ),
    one(
        "memory-counts-no-lines",
        "D01 P06",
        "stores/memory.py",
        "        size += _LINE + len(name) + len(text)\n",
        "        size += _LINE\n",
        "security/test_wrong_versions.py::test_d01_every_byte_of_a_record_is_accounted",
    ),
    one(
        "record-without-end",
        "D01 S15",
        "stores/writing.py",
        'commands.append((b"SET", place, data, b"PX", b"%d" % life))',
        'commands.append((b"SET", place, data))',
        "stores/test_redis.py::test_s15_every_key_has_an_end",
    ),
    one(
        "stamp-without-end",
        "D13 S15",
        "stores/redis.py",
        '(b"SET", self.stamp_place(name), new_stamp(), b"PX", live) for name in names',
        '(b"SET", self.stamp_place(name), new_stamp()) for name in names',
        "stores/test_redis.py::test_s15_every_key_has_an_end",
    ),
    one(
        "stamp-ends-before-its-record",
        "S15 I02",
        "stores/redis.py",
        "            if life < longest and life != _GONE\n",
        "            if life == _GONE\n",
        "stores/test_redis.py::test_stamps_are_made_to_outlive_records",
    ),
    one(
        "notes-without-bound",
        "D01",
        "notes.py",
        "if len(self.held) >= self._limit:",
        "if False:",
        "security/test_wrong_versions.py::test_d01_notes_of_keys_are_bounded",
    ),
    one(
        "shapes-without-bound",
        "D02",
        "settings/plan.py",
        "if len(self.shapes) >= MEMO_LIMIT:",
        "if False:",
        "security/test_resources.py::test_d02_a_flood_of_field_names_leaves_nothing_behind",
        "test_plan.py",
    ),
    one(
        "hosts-without-bound",
        "D02",
        "settings/plan.py",
        "if len(self.hosts) >= MEMO_LIMIT:",
        "if False:",
        "test_plan.py",
        "security/test_resources.py::test_d02_a_flood_of_hosts_stays_within_the_budget",
    ),
    Wrong(
        "late-reply-read-by-the-next",
        "X06 X08",
        (
            Change(
                "stores/pooled.py",
                "            except BaseException:  # cancelled, too: replies may come late\n"
                "                await self._drop(connection)\n",
                "            except BaseException:  # cancelled, too: replies may come late\n"
                "                self._idle.append(connection)\n",
            ),
            # redis-py would close it as well.
            Change(
                "stores/pooled.py",
                "reply = await connection.read_response()\n",
                "reply = await connection.read_response(disconnect_on_error=False)\n",
            ),
        ),
        ("stores/test_connections.py::test_a_cancelled_purge_costs_its_connection",),
    ),
    one(
        "cancelled-waiters-reply-given-to-the-next",
        "X06 X08",
        "stores/lookups.py",
        "            for waiter in waiters:\n"
        "                if not waiter.done():\n"
        "                    waiter.set_result(answer)\n",
        "            for waiter in waiters:\n"
        "                if not waiter.done():\n"
        "                    waiter.set_result(self._memo.__dict__.pop('late', answer))\n"
        "                else:\n"
        "                    self._memo.__dict__['late'] = answer\n",
        "stores/test_connections.py::test_a_cancelled_reads_reply_is_given_to_nobody",
        "stores/test_joining.py::test_who_is_cancelled_disturbs_nobody",
        named="a cancelled Redis command whose late reply is read by the next one",
    ),
    one(
        "cancelled-waiter-takes-the-others-along",
        "X06",
        "stores/lookups.py",
        "        self._asked.setdefault(question, []).append(waiter)\n        return waiter\n",
        "        waiters = self._asked.setdefault(question, [])\n        waiters.append(waiter)\n"
        "        return waiters[0]\n",
        "stores/test_joining.py::test_who_is_cancelled_disturbs_nobody",
    ),
    one(
        "reply-under-way-answers-who-asks-later",
        "I01 X06",
        "stores/lookups.py",
        "        self.loop = None\n",
        "",
        "stores/test_joining.py::test_the_next_turn_does_not_wait_for_the_replies_of_this_one",
        "stores/test_joining.py::test_what_is_asked_is_sent_after_it_was_asked",
    ),
    one(
        "memo-that-ignores-the-bytes",
        "X06",
        "stores/lookups.py",
        "if entry is not None and entry[0] == data and entry[1] == key:",
        "if entry is not None and entry[1] == key:",
        "stores/test_joining.py::test_the_memo_gives_nothing_for_other_bytes_another_key_or_another_"
        "place",
        "stores/test_joining.py::test_what_is_asked_is_sent_after_it_was_asked",
    ),
    one(
        "doubtful-reply-overlooked",
        "X06 X08",
        "stores/line.py",
        "            if not expected and parser.has_data():\n",
        "            if False:\n",
        "stores/test_connections.py::test_replies_nobody_asked_for_are_not_read",
    ),
    one(
        "reply-that-lay-there-read",
        "X06 X08",
        "stores/pooled.py",
        "        return not await has_input()\n",
        "        return has_input is not None\n",
        "stores/test_connections.py::test_replies_nobody_asked_for_are_not_read",
    ),
    one(
        "reply-of-another-length-taken",
        "X08",
        "stores/resp.py",
        "fits = type(reply) is list and len(reply) == len(command) - 1",
        "fits = type(reply) is list",
        "stores/test_connections.py::test_x08_stamps_of_another_shape_are_unavailable",
    ),
    one(
        "time-believed-at-once",
        "X08 O08",
        "stores/server_clock.py",
        "        if not server <= again <= server + MOST_BETWEEN:\n",
        "        if server > 1e12:\n",
        "stores/test_connections.py::test_a_time_that_was_garbled_on_its_way_is_not_believed",
    ),
    one(
        "connections-of-the-parent",
        "O02 O05",
        "stores/connections.py",
        "        if self._pid == os.getpid():\n            return\n",
        "        if self._pid:\n            return\n",
        "stores/test_connections.py::test_a_forked_child_lets_go_of_its_parents_connections",
    ),
    one(
        "messages-heard-on-the-parents-connection",
        "O02 O05",
        "stores/leases.py",
        "        for one in ears.values():\n            one.let_go()\n",
        "",
        "stores/test_connections.py::test_a_forked_child_lets_go_of_its_parents_connections",
    ),
    one(
        "connections-without-bound",
        "X13",
        "stores/pooled.py",
        "self._turns = asyncio.Semaphore(limit)",
        "self._turns = asyncio.Semaphore(limit * 1000)",
        "stores/test_connections.py::test_x13_the_number_of_connections_is_bounded",
    ),
    one(
        "password-told",
        "X12 S17",
        "stores/connections.py",
        'return text.replace(password, "***") if password else text',
        "return text or password",
        "stores/test_connections.py::test_a_password_that_the_server_repeats_is_not_told",
    ),
    one(
        "budget-of-a-request-unspent",
        "X03 X13",
        "stores/guarded.py",
        "seconds = min(guarded.timeout, budget.remaining)",
        "seconds = guarded.timeout",
        "stores/test_guarded.py::test_a_request_spends_one_budget_on_all_its_operations",
    ),
    one(
        "store-error-reaches-the-client",
        "G17 X02",
        "keeping.py",
        '            self._failures.see("write", error)\n'
        "            return Refusal.STORE_UNAVAILABLE\n",
        "            raise error\n",
        "test_protocol.py::test_g17_a_store_that_raises_costs_no_answer",
    ),
    one(
        "look-up-error-reaches-the-client",
        "G17 X02",
        "selection.py",
        "            epoch = values[-1]\n        except Exception as error:\n"
        '            return self._unavailable(screened, "look-up", error)\n',
        "            epoch = values[-1]\n        except Exception:\n            raise\n",
        "test_protocol.py::test_g17_a_store_that_raises_costs_no_answer",
    ),
)
