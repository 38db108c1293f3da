"""Wrong versions of keys, targets and what the app of a fill sees of them."""

from __future__ import annotations

from typing import Final

from tests.mutations.wrong.entry import Change, Wrong, one

NORMALISED = '__import__("unicodedata").normalize("NFKC", request.path)'

KEYS: Final = (
    one(
        "host-left-out",
        "K01",
        "policy/reuse.py",
        'target = b"%b\\0%b\\0%b" % (authority, raw_path, query)',
        'target = b"%b\\0%b\\0%b" % (b"", raw_path, query)',
        "security/test_keys.py::test_k01_hosts_have_their_own_responses",
        named="the host left out of the key",
    ),
    one(
        "port-left-out",
        "K02",
        "settings/plan.py",
        "authority = host.lower()",
        'authority = host.lower().partition(b":")[0]',
        "security/test_keys.py::test_k02_ports_and_schemes_have_their_own_responses",
    ),
    one(
        "scheme-left-out",
        "K02 P02",
        "policy/reuse.py",
        'f"{request.scheme}\\0{request.root_path}\\0{request.path}"',
        'f"\\0{request.root_path}\\0{request.path}"',
        "security/test_keys.py::test_k02_ports_and_schemes_have_their_own_responses",
    ),
    one(
        "mount-left-out",
        "K03",
        "messages.py",
        "        raw_path = (\n            quote(root,",
        "        raw_path = raw_path or (\n            quote(root,",
        "security/test_keys.py::test_k03_a_server_that_leaves_root_path_out_of_the_path",
        "security/test_keys.py::test_k03_both_ways_of_saying_root_path_in_one_app",
        "test_messages.py::test_k03_servers_differ_in_whether_the_path_has_the_root",
    ),
    one(
        "absent-is-empty",
        "K08",
        "policy/keys.py",
        "        if value is not None:\n            parts.append",
        "        if value:\n            parts.append",
        "security/test_keys.py::test_k08_absent_and_empty_differ",
        "policy/test_keys.py::test_what_makes_another_key",
        named="an absent header and an empty one sharing a key",
    ),
    one(
        "absent-is-empty-in-variants",
        "K08 V02",
        "policy/keys.py",
        "        value = fields.get(name)\n        if name == ACCEPT_ENCODING:",
        '        value = fields.get(name, b"")\n        if name == ACCEPT_ENCODING:',
        "policy/test_keys.py::test_nominated_values",
        "security/test_vary.py::test_v02_fields_are_told_apart_with_their_names",
    ),
    one(
        "parts-without-delimiter",
        "K08",
        "policy/keys.py",
        '    key = b"\\0".join(parts)\n'
        '    if key.count(b"\\0") != SEPARATORS_IN_KEY + 2 * (len(parts) - 1):\n'
        "        return None\n"
        "    return key",
        '    return b"".join(parts).replace(b"\\0", b"")',
        "policy/test_keys.py::test_k08_no_two_sets_of_fields_share_a_key",
        "policy/test_keys.py::test_k08_no_two_different_inputs_share_a_key",
        named="key parts joined without a delimiter",
    ),
    Wrong(
        "url-without-delimiter",
        "K03 K08",
        (
            Change(
                "policy/reuse.py",
                'f"{request.scheme}\\0{request.root_path}\\0{request.path}"',
                'f"{request.scheme}{request.root_path}{request.path}"',
            ),
            Change(
                "policy/keys.py", "SEPARATORS_IN_KEY: Final = 5", "SEPARATORS_IN_KEY: Final = 3"
            ),
        ),
        (
            "policy/test_keys.py::test_what_makes_another_key",
            "security/test_keys.py::test_k08_no_part_ends_where_another_begins",
            "policy/test_keys.py::test_k08_no_two_requests_share_a_key",
        ),
    ),
    one(
        "stamps-without-delimiter",
        "K08 P13",
        "policy/keys.py",
        'return b"g" + name, b"o%b\\0%b" % (authority, name)',
        'return b"g" + name, b"o%b%b" % (authority, name)',
        "policy/test_keys.py::test_no_two_scopes_share_a_stamp",
    ),
    one(
        "nul-in-a-part",
        "K08",
        "policy/reuse.py",
        '    if key.count(b"\\0") != SEPARATORS_IN_KEY:\n',
        "    if False:\n",
        "security/test_keys.py::test_k08_a_nul_anywhere_bypasses",
        "policy/test_reuse.py::test_what_is_not_looked_up",
    ),
    one(
        "another-keys-record",
        "K08",
        "stores/codec.py",
        "if type(objects[0]) is not int or objects[1] != key:",
        "if type(objects[0]) is not int:",
        "stores/test_codec.py::test_k08_another_keys_record_is_refused",
        "security/test_keys.py::test_k08_what_lies_at_another_keys_place_is_not_served",
    ),
    Wrong(
        "unicode-normalised",
        "K09",
        (
            Change(
                "policy/reuse.py",
                'target = b"%b\\0%b\\0%b" % (authority, raw_path, query)',
                'target = b"%b\\0%b\\0%b" % (\n'
                "        authority,\n"
                f'        {NORMALISED}.encode("utf-8", "surrogatepass"),\n'
                "        query,\n"
                "    )",
            ),
            Change(
                "policy/reuse.py",
                'f"{request.scheme}\\0{request.root_path}\\0{request.path}"',
                f'(f"{{request.scheme}}\\0{{request.root_path}}\\0" + {NORMALISED})',
            ),
        ),
        ("security/test_keys.py::test_k09_unicode_is_neither_normalised_nor_folded",),
        "a key that was Unicode-normalised",
    ),
    Wrong(
        "case-folded",
        "K09",
        (
            Change(
                "policy/reuse.py",
                'target = b"%b\\0%b\\0%b" % (authority, raw_path, query)',
                'target = b"%b\\0%b\\0%b" % (authority, raw_path.lower(), query)',
            ),
            Change(
                "policy/reuse.py",
                'f"{request.scheme}\\0{request.root_path}\\0{request.path}"',
                'f"{request.scheme}\\0{request.root_path}\\0{request.path.lower()}"',
            ),
        ),
        (
            "policy/test_keys.py::test_what_makes_another_key",
            "security/test_keys.py::test_k09_unicode_is_neither_normalised_nor_folded",
        ),
        "a key that was case-folded",
    ),
    one(
        "query-sorted",
        "K05",
        "policy/reuse.py",
        "    query = request.query\n",
        '    query = b"&".join(sorted(request.query.split(b"&")))\n',
        "security/test_keys.py::test_k05_queries_are_never_merged_by_default",
    ),
    one(
        "query-without-blanks",
        "K05",
        "policy/reuse.py",
        "    query = request.query\n",
        '    query = b"&".join(filter(None, request.query.split(b"&")))\n',
        "security/test_keys.py::test_k05_queries_are_never_merged_by_default",
    ),
    one(
        "ignored-part-shown-to-the-app",
        "K06",
        "fetching.py",
        'child["query_string"] = folded.head.query',
        'child["query_string"] = screened.request.query',
        "security/test_keys.py::test_k06_the_app_of_a_fill_sees_no_ignored_part",
    ),
    one(
        "semicolon-is-a-separator",
        "K06",
        "policy/folding.py",
        'for piece in query.split(b"&"):',
        'for piece in query.replace(b";", b"&").split(b"&"):',
        "policy/test_folding.py::test_query",
        "policy/test_folding.py::test_a_folded_query_is_what_was_sent_but_for_pieces",
        "security/test_keys.py::test_k06_the_app_of_a_fill_sees_no_ignored_part",
    ),
    one(
        "long-target-stored",
        "K11",
        "policy/reuse.py",
        'if len(target) > MAX_TARGET_BYTES or not raw_path.startswith(b"/"):',
        'if not raw_path.startswith(b"/"):',
        "policy/test_keys.py::test_k11_the_longest_target",
        "security/test_keys.py::test_k11_a_very_long_url_is_served_and_not_stored",
    ),
    one(
        "odd-target-stored",
        "K13",
        "policy/reuse.py",
        'if len(target) > MAX_TARGET_BYTES or not raw_path.startswith(b"/"):',
        "if len(target) > MAX_TARGET_BYTES:",
        "security/test_keys.py::test_k13_a_target_that_is_no_path_is_not_stored",
        "policy/test_keys.py::test_odd_targets_and_hosts",
    ),
    one(
        "bad-host-stored",
        "K14",
        "settings/plan.py",
        "if len(host) > MAX_AUTHORITY_BYTES or not is_host(host):",
        "if len(host) > MAX_AUTHORITY_BYTES:",
        "security/test_keys.py::test_k14_a_bad_host_bypasses",
        "security/test_keys.py::test_k14_no_host_and_two_hosts_bypass",
    ),
    one(
        "key-fields-left-out",
        "P01 P02",
        "settings/plan.py",
        "key_fields=tuple(name for name in self.key_fields if name in present),",
        "key_fields=(),",
        "policy/test_keys.py::test_p01_every_key_field_is_part_of_the_key",
        "security/test_poisoning.py::test_p01_a_field_of_proxies_poisons_nobody_else",
    ),
    one(
        "forwarded-keyed-folded-and-shown-whole",
        "P01",
        "policy/folding.py",
        "replaced[FORWARDED] = fold_forwarded(fields[FORWARDED])",
        "replaced[FORWARDED] = fields[FORWARDED]",
        "security/test_poisoning.py::test_p01_the_app_sees_of_forwarded_what_the_key_holds",
    ),
    one(
        "coding-keyed-folded-and-shown-whole",
        "P01 V06",
        "policy/folding.py",
        "replaced[ACCEPT_ENCODING] = fold_accept_encoding(fields[ACCEPT_ENCODING])",
        "replaced[ACCEPT_ENCODING] = fields[ACCEPT_ENCODING]",
        "security/test_poisoning.py::test_p01_what_accept_encoding_is_folded_to_is_what_the_app_sees",
    ),
    one(
        "two-lines-of-a-key-field",
        "P01",
        "fetching.py",
        'if len(request.fields) < len(scope.get("headers", ())):',
        "if False:",
        "test_middleware.py::test_the_lines_of_a_repeated_key_field_reach_the_app_as_they_are_keyed",
    ),
    one(
        "last-line-of-a-field-counts",
        "P01",
        "messages.py",
        "fields[name] += separator + value",
        "fields[name] = value or separator",
        "test_messages.py::test_repeated_fields_are_combined_and_cookies_with_semicolons",
        "security/test_poisoning.py::test_p01_lines_of_one_field_count_together",
    ),
    one(
        "underscores-unseen",
        "P01 L18",
        "settings/plan.py",
        'name != name.lower() or b"_" in name for name in names',
        "name != name.lower() for name in names",
        "test_plan.py::test_an_underscore_may_be_read_as_a_hyphen_by_the_app",
    ),
    one(
        "namespaces-mixed",
        "S16",
        "stores/places.py",
        'self.prefix = namespace.encode() + b":"',
        'self.prefix = b"asgi_cache:"',
        "stores/test_redis.py::test_s16_namespaces_do_not_mix_and_workers_of_one_share",
        "security/test_resources.py::test_s16_two_apps_with_namespaces_of_their_own",
    ),
)
