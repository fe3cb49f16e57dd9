"""Faults to plant: for each row that the specification makes a MUST, one that a test must notice.

A fault is a small change of our source. `tests.opamp.planting` applies it in a process of its own
and runs the test that is named; the test has to fail.
"""

from __future__ import annotations

from dataclasses import dataclass

WS, HTTP = "io/test_websocket.py", "io/test_polling.py"
ON_WS, ON_HTTP = "io/test_serve_websocket.py", "io/test_serve_http.py"
MOVES, CLIENT, SERVER = "io/test_client.py", "test_client.py", "test_server.py"
REPORTS, HEALTH = "agent/test_reports.py", "agent/test_health.py"


@dataclass(frozen=True, slots=True)
class Fault:
    """``old`` stands once in a module, and becomes ``new``.

    ``module`` is one of `llm_observe.opamp`, or the full name of another one of ours.
    """

    module: str
    old: str
    new: str
    file: str
    test: str

    @property
    def name(self) -> str:
        """The full name of the module."""
        full = self.module.startswith("llm_observe.")
        return self.module if full else f"llm_observe.opamp.{self.module}"


FAULTS = {
    "W-05": Fault(
        "wire",
        "return data[position + 1 :]",
        "return data[1:]",
        "test_wire.py",
        "test_a_zero_header_of_any_length_is_stripped",
    ),
    "L-02": Fault(
        "wire",
        "    if size > limit:",
        "    if size > 1000 * limit:",
        WS,
        "test_our_server_counts_what_a_message_inflates_to",
    ),
    "L-04": Fault(
        "io.websocket",
        "max_size=max_message_bytes,",
        "max_size=None,",
        WS,
        "test_a_message_over_the_limit_ends_the_line_with_1009",
    ),
    "L-06": Fault(
        "wishes",
        "return message.ByteSize() + part.ByteSize() + FIELD_BYTES <= limit",
        "return True",
        SERVER,
        "test_what_does_not_fit_one_message_has_the_next_one",
    ),
    "L-08": Fault(
        "parts",
        "if message.ByteSize() > limit:",
        "if False:",
        CLIENT,
        "test_parts_that_do_not_fit_one_message_take_two",
    ),
    "L-09": Fault(
        "io.bodies",
        "if len(self._body) > self._limit:",
        "if False:",
        ON_HTTP,
        "test_a_small_body_that_inflates_over_the_limit_is_413",
    ),
    "L-10": Fault(
        "io.posting",
        "    413: Fate.REFUSED,",
        "    413: Fate.UNSENT,",
        HTTP,
        "test_a_message_refused_for_good_is_not_sent_again",
    ),
    "L-11": Fault(
        "io.bodies",
        "if len(self._body) > self._limit:",
        "if False:",
        HTTP,
        "test_an_answer_beyond_the_limit_is_not_processed",
    ),
    "L-12": Fault(
        "server",
        "self._custom.take(self._limit - message.ByteSize() - FIELD_BYTES)",
        "self._custom.take(self._limit)",
        SERVER,
        "test_what_does_not_fit_one_message_has_the_next_one",
    ),
    "L-13": Fault(
        "telling",
        "wire.check_size(message.ByteSize() + ENVELOPE_BYTES, self.max_message_bytes)",
        "pass",
        CLIENT,
        "test_a_part_beyond_the_size_limit_is_refused_and_the_truth_is_kept",
    ),
    "H-02": Fault(
        "io.posting",
        'CONTENT_TYPE = "application/x-protobuf"',
        'CONTENT_TYPE = "application/protobuf"',
        HTTP,
        "test_a_request_is_what_the_specification_says",
    ),
    "H-04": Fault(
        "client",
        "return self.heartbeat_s or HEARTBEAT_S",
        "return 0.0",
        CLIENT,
        "test_over_http_polling_takes_no_capability_and_does_not_end",
    ),
    "H-06": Fault(
        "client",
        "            self.heartbeat_s = interval\n",
        "            pass\n",
        HTTP,
        "test_it_polls_at_the_interval_it_is_given_and_at_the_one_it_is_offered",
    ),
    "H-07": Fault(
        "io.polling",
        "                self._send(data)\n",
        "                self._driver.thread(lambda d=data: self._send(d), 'x').start()\n",
        HTTP,
        "test_one_request_is_under_way_at_a_time",
    ),
    "H-09": Fault(
        "io.posting",
        'return {**headers, "Content-Encoding": "gzip"} if gzipped else headers',
        "return headers",
        HTTP,
        "test_bodies_are_compressed_both_ways",
    ),
    "H-10": Fault(
        "io.serve_http",
        '"").strip().lower() == "gzip"',
        '"").strip().lower() == "deflate"',
        ON_HTTP,
        "test_a_gzipped_request_is_read",
    ),
    "C-01": Fault(
        "client",
        "self.on_line = self._must_speak = True",
        "self.on_line = True",
        CLIENT,
        "test_a_report_comes_first_even_if_there_is_nothing_to_report",
    ),
    "C-04": Fault(
        "io.websocket",
        "        driver.protocol.leave_line()",
        "        driver.protocol.disconnected()",
        WS,
        "test_the_agent_says_that_it_disconnects_before_it_closes_whoever_is_to_blame",
    ),
    "C-05": Fault(
        "io.asgi",
        'line.close(1001, "the server stops")',
        "pass",
        ON_WS,
        "test_closing_the_server_closes_every_line",
    ),
    "C-07": Fault(
        "client",
        "            self.on_line = self._parting = False\n",
        "            self._parting = False\n",
        CLIENT,
        "test_goodbye_is_the_last_message",
    ),
    "C-11": Fault(
        "io.driver",
        "            self.protocol.leave_line()\n",
        "            self.protocol.disconnected()\n",
        MOVES,
        "test_it_goes_over_to_another_server_and_tells_it_everything",
    ),
    "A-02": Fault(
        "io.asgi",
        "return None if status is None else status_refusal(status)",
        "return None if status is None else status_refusal(400)",
        ON_HTTP,
        "test_the_handlers_refusal_is_the_status_before_the_body_is_read",
    ),
    "U-01": Fault(
        "client",
        "if len(uid) != UID_BYTES or not any(uid):",
        "if not any(uid):",
        CLIENT,
        "test_an_instance_uid_is_sixteen_bytes_and_not_zero",
    ),
    "U-04": Fault(
        "client",
        "flags=_WANT_UID if self._request_uid else 0,",
        "flags=0,",
        CLIENT,
        "test_a_new_uid_is_used_from_then_on_and_everything_is_reported_under_it",
    ),
    "U-05": Fault(
        "server",
        "instance_uid=self._spoken_uid, capabilities",
        "instance_uid=self.instance_uid, capabilities",
        SERVER,
        "test_a_reply_goes_to_the_uid_that_spoke_and_tells_it_the_right_one",
    ),
    "U-06": Fault(
        "client",
        "self.instance_uid, self._former_uid = check_uid(new), self.instance_uid",
        "check_uid(new)",
        CLIENT,
        "test_a_new_uid_is_used_from_then_on_and_everything_is_reported_under_it",
    ),
    "U-07": Fault(
        "io.asgi",
        "self._registry = Registry(self._make, new_uid, max_agents,",
        "self._registry = Registry(self._make, lambda: b'short', max_agents,",
        ON_WS,
        "test_an_agent_that_wants_a_uid_gets_one",
    ),
    "Q-02": Fault(
        "server",
        "        if known and not in_order:\n            # A report",
        "        if False:\n            # A report",
        SERVER,
        "test_a_gap_is_told_and_a_full_report_asked_for",
    ),
    "Q-04": Fault(
        "parts",
        "        self._truth[name] = encoded\n        self._due.add(name)\n",
        "        self._truth[name] = encoded\n",
        CLIENT,
        "test_only_what_changed_is_sent_and_whole",
    ),
    "Q-06": Fault(
        "io.serve_websocket",
        "            await self._send_bytes(answer())\n            self._stoppable = False\n",
        "            answer()\n            self._stoppable = False\n",
        ON_WS,
        "test_every_message_is_answered_also_a_repeat",
    ),
    "Q-07": Fault(
        "server",
        "        if self.repeats(message):  # answered, but processed once\n            return ()\n",
        "",
        SERVER,
        "test_a_repeat_is_answered_and_processed_once",
    ),
    "Q-08": Fault(
        "io.exchange",
        'return link, _refuse(spoken, ErrorKind.UNAVAILABLE, "try again later", RETRY_S)',
        "return link, lambda: link.protocol.reply(0.0)",
        ON_WS,
        "test_a_handler_that_fails_makes_the_agent_come_back_and_tell_all_again",
    ),
    "Q-09": Fault(
        "parts",
        "        if self._truth.get(name) == encoded:\n            return False\n",
        "",
        "test_agreement.py",
        "test_there_is_silence_when_nothing_changed",
    ),
    "Q-11": Fault(
        "parts",
        "        target.CopyFrom(value)\n",
        "        pass\n",
        "test_agreement.py",
        "test_the_server_sees_the_agents_truth_within_two_quiet_rounds",
    ),
    "Q-13": Fault(
        "heard",
        "        self._seen[status] = offered\n",
        "        pass\n",
        CLIENT,
        "test_an_offer_is_reported_once_until_another_one_comes",
    ),
    "P-01": Fault(
        "client",
        "            capabilities=int(self.capabilities),\n",
        "",
        CLIENT,
        "test_capabilities_are_in_every_message_and_a_change_is_told",
    ),
    "P-02": Fault(
        "telling",
        "return AgentCapabilities.from_wire(int(capabilities)) | ",
        "return capabilities | ",
        CLIENT,
        "test_bits_that_nobody_has_defined_are_not_said",
    ),
    "P-03": Fault(
        "telling",
        "int(capabilities)) | AgentCapabilities.REPORTS_STATUS",
        "int(capabilities))",
        CLIENT,
        "test_the_first_message_on_a_line_is_a_report_with_all_there_is",
    ),
    "P-05": Fault(
        "server",
        '            parts["capabilities"] = AgentCapabilities.from_wire(message.capabilities)\n',
        '            parts["capabilities"] = self.state.capabilities or AgentCapabilities.from_wire('
        "message.capabilities)\n",
        SERVER,
        "test_capabilities_that_change_change_what_is_offered",
    ),
    "P-07": Fault(
        "server",
        "self.capabilities = defined | ServerCapabilities.ACCEPTS_STATUS",
        "self.capabilities = defined",
        SERVER,
        "test_capabilities_are_in_every_reply",
    ),
    "P-08": Fault(
        "server",
        "instance_uid=self._spoken_uid, capabilities=int(self.capabilities)",
        "instance_uid=self._spoken_uid",
        SERVER,
        "test_capabilities_are_in_every_reply",
    ),
    "P-09": Fault(
        "server",
        "defined = ServerCapabilities.from_wire(int(capabilities))",
        "defined = capabilities",
        SERVER,
        "test_bits_that_nobody_has_defined_are_not_said",
    ),
    "P-10": Fault(
        "wishes",
        "            and AgentCapabilities.ACCEPTS_REMOTE_CONFIG in state.capabilities\n",
        "",
        SERVER,
        "test_an_offer_waits_for_an_agent_that_accepts_it",
    ),
    "P-11": Fault(
        "parts",
        "return self.agent in agent and (not server or self.server in server)",
        "return self.agent in agent",
        CLIENT,
        "test_a_part_is_withheld_from_a_server_that_does_not_accept_it",
    ),
    "M-01": Fault(
        "codec",
        "        for name, file in files.items()\n    }\n    return opamp_pb2.AgentConfigMap",
        "        for name, file in list(files.items())[:1]\n    }\n"
        "    return opamp_pb2.AgentConfigMap",
        "test_codec.py",
        "test_a_part_survives_the_trip",
    ),
    "D-06": Fault(
        "llm_observe.agent.identity",
        '"service.version", "service.instance.id")',
        '"service.version")',
        REPORTS,
        "test_what_identifies_it_is_what_identifies_its_spans",
    ),
    "E-01": Fault(
        "llm_observe.agent.link",
        "    | AgentCapabilities.REPORTS_EFFECTIVE_CONFIG\n",
        "",
        REPORTS,
        "test_it_says_that_it_takes_settings_and_tells_which_are_in_force",
    ),
    "N-01": Fault(
        "llm_observe.agent.health",
        "start_time_unix_nano=self.start_ns if running else 0,",
        "start_time_unix_nano=self.start_ns,",
        HEALTH,
        "test_what_does_not_run_has_no_time_of_its_start",
    ),
    "O-02": Fault(
        "connections",
        "own.endpoint and not _OWN.fullmatch(own.endpoint)",
        "False",
        SERVER,
        "test_own_telemetry_that_is_offered_has_the_full_url_of_its_signal",
    ),
    "O-08": Fault(
        "llm_observe.agent.own_metrics",
        '"process.memory.usage", "By"',
        '"process.memory.rss", "By"',
        "agent/test_pulse.py",
        "test_names_units_kinds_and_attributes_are_those_of_the_conventions",
    ),
    "R-01": Fault(
        "llm_observe.agent.link",
        "    | AgentCapabilities.ACCEPTS_REMOTE_CONFIG\n",
        "",
        REPORTS,
        "test_it_says_that_it_takes_settings_and_tells_which_are_in_force",
    ),
    "R-02": Fault(
        "wishes",
        "            and AgentCapabilities.ACCEPTS_REMOTE_CONFIG in state.capabilities\n",
        "",
        SERVER,
        "test_an_offer_waits_for_an_agent_that_accepts_it",
    ),
    "R-03": Fault(
        "wishes",
        "        if not config_hash:\n",
        "        if False:\n",
        SERVER,
        "test_an_offer_needs_a_hash_and_a_size_within_the_limit",
    ),
    "R-05": Fault(
        "wishes",
        "status is None or status.hash != self._offer.config_hash)",
        "status is None)",
        SERVER,
        "test_an_offer_is_repeated_until_its_hash_comes_back_whatever_became_of_it",
    ),
    "K-03": Fault(
        "connections",
        "if offer.opamp is not None and not _OPAMP.fullmatch(offer.opamp.endpoint):",
        "if offer.opamp is not None and not offer.opamp.endpoint:",
        SERVER,
        "test_an_opamp_connection_that_is_offered_has_a_url_of_one_of_the_transports",
    ),
    "K-07": Fault(
        "io.client",
        "            self._keep(record)\n            if record.wanted != former.wanted:\n",
        "            self._keep(candidate.verified(record))\n"
        "            if record.wanted != former.wanted:\n",
        MOVES,
        "test_an_offered_connection_that_says_nothing_is_given_up_in_time",
    ),
    "K-09": Fault(
        "candidate",
        "return _done(replace(record, active=record.candidate, candidate=None))",
        "return _done(replace(record, candidate=None))",
        "test_candidate.py",
        "test_a_candidate_that_works_is_the_connection_from_then_on",
    ),
    "K-10": Fault(
        "io.client",
        "            self._keep(candidate.failed(self._record, trouble))\n"
        "            self.move(self._line_for(self._record))\n",
        "            self._keep(candidate.failed(self._record, trouble))\n",
        MOVES,
        "test_an_offered_connection_that_refuses_us_is_given_up_and_failed_is_said_at_the_old_one",
    ),
    "K-15": Fault(
        "wishes",
        "        if status is not None and status.hash == self._offer.hash:\n",
        "        if status is not None:\n",
        SERVER,
        "test_connections_are_offered_until_their_hash_comes_back_whatever_became_of_them",
    ),
    "S-09": Fault(
        "candidate",
        "offered.proxy is not None and not offered.proxy.url",
        "False",
        "test_candidate.py",
        "test_what_cannot_be_taken_is_refused_with_a_sentence",
    ),
    "B-03": Fault(
        "codec",
        "pb = opamp_pb2.AvailableComponents(hash=value.hash)",
        "pb = opamp_pb2.AvailableComponents()",
        CLIENT,
        "test_a_full_report_is_sent_when_asked_for_with_components_by_hash",
    ),
    "I-01": Fault(
        "client",
        "            self.heartbeat_s = interval\n",
        "            pass\n",
        CLIENT,
        "test_an_offered_interval_is_obeyed_even_without_accepting_connection_settings",
    ),
    "I-03": Fault(
        "client",
        "            instance_uid=self.instance_uid,\n            sequence_num",
        "            sequence_num",
        CLIENT,
        "test_a_heartbeat_is_due_after_the_last_message_of_any_kind",
    ),
    "I-04": Fault(
        "client",
        "        if not self.framed:\n            return self.heartbeat_s or HEARTBEAT_S\n",
        "        if not self.framed:\n            return HEARTBEAT_S\n",
        HTTP,
        "test_it_polls_at_the_interval_it_is_given_and_at_the_one_it_is_offered",
    ),
    "F-01": Fault(
        "io.exchange",
        "return None, _refuse(uid, ErrorKind.BAD_REQUEST, str(error))",
        "return None, _refuse(uid, ErrorKind.UNKNOWN, str(error))",
        ON_WS,
        "test_malformed_bytes_are_answered_and_too_many_end_the_line",
    ),
}
