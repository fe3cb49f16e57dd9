"""What keeps content in, taken away from one path at a time: each must make a sequence leak.

`tests.privacy.planting` plants them. A fault is a small change of our source.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """``old`` stands once in a module of `llm_observe`, and becomes ``new``."""

    module: str
    old: str
    new: str


_PRESENT, _RENDER = "tracing.export.present", "tracing.rendering.render"
_SCRUBBING, _WORKER = "tracing.rendering.scrubbing", "tracing.export.worker"
_PRIVACY, _CAPTURE = "tracing.rendering.privacy", "policy.capture"

FAULTS = {
    # -- when: what was recorded, queued, tried or sent before a change -----------------------
    "what is queued is rendered under the settings of the start": Fault(
        "tracing.pipeline", "lambda: self._privacy,", "lambda held=self._privacy: held,"
    ),
    "a batch that is tried again is not rendered again": Fault(
        _WORKER,
        "body = backend.pack(\n"
        "                job.line.signal, job.batch, privacy, self._resource(), self._genai()\n"
        "            )",
        "kept = self.__dict__.setdefault('kept', {})\n"
        "            body = kept[id(job.batch[0])] = kept.get(id(job.batch[0])) or backend.pack(\n"
        "                job.line.signal, job.batch, privacy, self._resource(), self._genai()\n"
        "            )",
    ),
    "a request in flight goes on": Fault(
        _WORKER,
        "return exchange if exchange is not None and self._outdated(exchange) else None",
        "return None",
    ),
    "a request in flight goes on after a lower level": Fault(
        _PRIVACY, "same = same_capture and same_redaction and", "same = same_redaction and"
    ),
    "a request in flight goes on after stricter redaction": Fault(
        _PRIVACY, "same_capture and same_redaction and same_grants", "same_capture and same_grants"
    ),
    "the kernel sends what it has taken": Fault(
        "tracing.export.exchange",
        "self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _FORGET)",
        "pass",
    ),
    "what was refused costs the tightening as well": Fault(
        "tracing.pipeline",
        "self._put_in_force(tighter, grants_of_both(self._privacy.grants, grants))",
        "tighter = self.settings",
    ),
    "a trace that was held and kept leaves as it is": Fault(
        _PRESENT,
        "present(entry, filter_under(privacy, partial(_subject, entry, service)), resource, genai)",
        "present(entry, Filter('full') if entry.kept else "
        "filter_under(privacy, partial(_subject, entry, service)), resource, genai)",
    ),
    "a stream that ends after a change is recorded under what held when it began": Fault(
        _PRESENT,
        "rendered, said = render(call, keep, genai), _said(span, call)",
        "rendered, said = render(call, Filter('full') if call.streaming else keep, genai), "
        "_said(span, call)",
    ),
    # -- where: destinations --------------------------------------------------------------------
    "a destination that was removed goes on": Fault(
        "tracing.export.delivery",
        "self._retire([worker for name, worker in before.items() if name not in workers])",
        "self._retire([])",
    ),
    "a destination that moved goes on as before": Fault(
        "tracing.export.delivery", "worker.move(destination)", "pass"
    ),
    "a signal that was taken away goes on": Fault(
        _WORKER, "line.renew(line.signal in destination.signals)", "line.renew(True)"
    ),
    "redirects are followed": Fault(
        "tracing.export.transport",
        "retries=False,\n        redirect=False,",
        "retries=urllib3.Retry(3),\n        redirect=True,",
    ),
    # -- grants ---------------------------------------------------------------------------------
    "a grant ends only when the agent looks": Fault(
        _PRIVACY, "self._running = grants\n", "self._running: tuple[ActiveGrant, ...] = ()\n"
    ),
    "the end of a grant ends no request": Fault(
        "agent.runtime", "            self._end_grants()\n", "            pass\n"
    ),
    "a grant that has ended begins again": Fault(
        "policy.grants", "            if name not in gone.ended\n", ""
    ),
    "a wall clock set back makes a grant longer": Fault(
        _CAPTURE,
        "return self.boot >= end.boot or self.wall >= end.wall",
        "return self.wall >= end.wall",
    ),
    "a grant is for every call": Fault(
        _CAPTURE, "            if matches(subject):\n", "            if True:\n"
    ),
    # -- levels ---------------------------------------------------------------------------------
    "off keeps sessions": Fault(
        _CAPTURE,
        "_CONTEXT = dict(zip(CaptureLevel, (_DROP,",
        "_CONTEXT = dict(zip(CaptureLevel, (_KEEP,",
    ),
    "off keeps labels": Fault(
        _CAPTURE,
        "_LABEL = dict(zip(CaptureLevel, (_DROP, _MASK,",
        "_LABEL = dict(zip(CaptureLevel, (_MASK, _MASK,",
    ),
    "metadata keeps content": Fault(
        _CAPTURE,
        "_CONTENT = dict(zip(CaptureLevel, (_DROP, _DROP,",
        "_CONTENT = dict(zip(CaptureLevel, (_DROP, _MASK,",
    ),
    "metadata shows labels as they are": Fault(
        _CAPTURE,
        "_LABEL = dict(zip(CaptureLevel, (_DROP, _MASK, _MASK,",
        "_LABEL = dict(zip(CaptureLevel, (_DROP, _KEEP, _KEEP,",
    ),
    "redacted shows what detectors cannot look into": Fault(
        _CAPTURE,
        "_OPAQUE = dict(zip(CaptureLevel, (_DROP, _DROP, _DROP,",
        "_OPAQUE = dict(zip(CaptureLevel, (_DROP, _DROP, _KEEP,",
    ),
    "a part has the level of its call": Fault(
        _CAPTURE, "return dict(self.parts).get(kind, self.level)", "return self.level"
    ),
    "what may quote any part has the level of its call": Fault(
        _CAPTURE,
        "return lowest(self.level, *(level for _, level in self.parts))",
        "return self.level",
    ),
    "rules for some calls do not count": Fault(
        _CAPTURE,
        "found = next((levels for matches, levels in self._rules if matches(subject)), self._base)",
        "found = self._base",
    ),
    "a rule does not lower parts": Fault(
        _CAPTURE, "(kind, lowest(level, rule.level)) for kind", "(kind, level) for kind"
    ),
    # -- redaction ------------------------------------------------------------------------------
    "redacted masks nothing": Fault(
        _SCRUBBING, "kept = self._masked(value) if rule is Verdict.MASK else value", "kept = value"
    ),
    "a value is cut before it is looked through": Fault(
        _SCRUBBING,
        "kept = self._masked(value) if rule is Verdict.MASK else value",
        "kept = self._masked(self._shortened(value) if self._most else value) "
        "if rule is Verdict.MASK else value",
    ),
    "a fault in a detector shows the value": Fault(
        _SCRUBBING,
        "gate.report(error)\n            return None",
        "gate.report(error)\n            return value",
    ),
    "patterns of one's own do not count": Fault(
        "policy.rules",
        "rules = [*_detectors(redaction), *_patterns(redaction)]",
        "rules = [*_detectors(redaction)]",
    ),
    "names inside a value are not looked at": Fault(
        "policy.redaction", "name = self._name(str(key))", "name = str(key)"
    ),
    # -- faults of our own ----------------------------------------------------------------------
    "a fault in rendering shows the call": Fault(
        _PRESENT,
        "made = {CAPTURE_LEVEL: str(keep.level), CONTENT_DROPPED: True}",
        "made = {CAPTURE_LEVEL: str(keep.level), 'input.value': repr(entry.call and entry.call.input)}",
    ),
    "a level that cannot be told is the highest": Fault(
        "tracing.rendering.filtering",
        "return Filter(CaptureLevel.OFF)",
        "return Filter(CaptureLevel.FULL)",
    ),
    "health quotes a fault": Fault(
        "tracing.gate",
        'self.last = f"{type(error).__name__} at {_place(error.__traceback__)}"',
        'self.last = f"{error} at {_place(error.__traceback__)}"',
    ),
    "the log quotes a wrong score": Fault(
        "tracing.around.feedback",
        'f"its value is no number but a {type(value).__name__}"',
        'f"its value is no number but {value}"',
    ),
    # -- positions on a call --------------------------------------------------------------------
    "input and output as one text": Fault(
        "tracing.rendering.messages",
        "text = keep(kinds_of(messages[0], kind), messages[0].content)",
        "text = messages[0].content",
    ),
    "input and output as JSON": Fault(
        "tracing.rendering.messages",
        '{"role": message.role, "content": keep(kinds_of(message, kind), message.content)}',
        '{"role": message.role, "content": message.content}',
    ),
    "media beside a text": Fault(
        "tracing.rendering.messages",
        "if message.media and keep.shows(Kind.MEDIA) else {})",
        "if message.media else {})",
    ),
    "OpenInference's messages": Fault(
        "tracing.rendering.messages",
        "content = keep(kinds_of(message, kind), message.content)\n        if content:",
        "content = message.content\n        if content:",
    ),
    "OpenTelemetry's messages": Fault(
        "tracing.rendering.messages",
        "text = keep(kinds_of(message, kind), message.content)\n        words",
        "text = message.content\n        words",
    ),
    "media in OpenTelemetry's messages": Fault(
        "tracing.rendering.messages",
        "(_uri(uri) if keep.shows(Kind.MEDIA) else {})",
        "_uri(uri)",
    ),
    "an answer that is sent back": Fault(
        "tracing.rendering.messages",
        "return (Kind.INPUT, Kind.OUTPUT) if side is Kind.INPUT else (side,)",
        "return (side,)",
    ),
    "system prompts": Fault(
        "tracing.rendering.found",
        'texts = [keep(Kind.SYSTEM, m.content) for m in messages if m.role == "system"]',
        'texts = [m.content for m in messages if m.role == "system"]',
    ),
    "parameters": Fault(
        "tracing.rendering.found",
        "kept = keep(Kind.LABEL, found.call.parameters)",
        "kept = found.call.parameters",
    ),
    "inputs that are no message": Fault(
        "tracing.rendering.messages",
        "_body(messages, keep(kind, dict(extra)), keep, kind)",
        "_body(messages, dict(extra), keep, kind)",
    ),
    "messages sent, as events": Fault(
        "tracing.rendering.message_events",
        '"content": keep(kinds_of(message, Kind.INPUT), message.content)}',
        '"content": message.content}',
    ),
    "answers, as events": Fault(
        "tracing.rendering.message_events",
        "content = keep(Kind.OUTPUT, message.content)",
        "content = message.content",
    ),
    "the text of an error": Fault(
        _RENDER,
        '"exception.message": keep(Kind.ERROR, call.error_message)',
        '"exception.message": call.error_message',
    ),
    "the stack of an error": Fault(
        _RENDER, '"exception.stacktrace": keep(Kind.ERROR, stack)', '"exception.stacktrace": stack'
    ),
    "the status of a call": Fault(
        _RENDER,
        "message = keep(Kind.ERROR, call.error_message)",
        "message = call.error_message",
    ),
    "a call's further attributes": Fault(
        _RENDER,
        "attributes |= scrub(call.attributes, keep, llm=True)",
        "attributes |= call.attributes",
    ),
    "fields that are masked": Fault(
        _RENDER, "            kept = keep(kind, value)\n", "            kept = value\n"
    ),
    "what others say on the span of a call": Fault(
        _PRESENT, "attributes=scrub(said, keep, llm=True) | rendered", "attributes=said | rendered"
    ),
    # -- positions on spans of others, and of steps -----------------------------------------------
    "attributes": Fault(
        _PRESENT,
        "attributes={**scrub(attributes, keep, llm=llm), CAPTURE_LEVEL: str(keep.level)}",
        "attributes={**attributes, CAPTURE_LEVEL: str(keep.level)}",
    ),
    "keys that nobody knows": Fault(
        _SCRUBBING,
        "Verdict.DROP if self._llm and not levels.whole else Verdict.KEEP, brief=True",
        "Verdict.KEEP, brief=True",
    ),
    "input and output that may hold any part": Fault(
        _SCRUBBING,
        "return MIXED if kind in (Kind.INPUT, Kind.OUTPUT) else (kind,)",
        "return (kind,)",
    ),
    "the words between roles": Fault(
        _SCRUBBING,
        "        return _bare(item)\n    return None\n",
        "        return _bare(item)\n    return item\n",
    ),
    "events": Fault(
        _PRESENT,
        "kept = scrub_event(event.attributes or {}, keep, llm=llm)",
        "kept = dict(event.attributes or {})",
    ),
    "links": Fault(
        _PRESENT,
        "Link(link.context, scrub_event(link.attributes or {}, keep, llm=llm))",
        "Link(link.context, link.attributes)",
    ),
    "status": Fault(
        _PRESENT,
        "description = scrub_status(status.description, keep)",
        "description = status.description",
    ),
    "scores": Fault("conventions.known", '    Kind.FEEDBACK: """\n', '    Kind.METADATA: """\n'),
    # -- other signals ----------------------------------------------------------------------------
    "attributes of metrics": Fault(
        "tracing.metrics",
        "series = tuple(cut(getattr(call, field)) for field in METRIC_FIELDS)",
        "series = tuple(cut(getattr(call, field.replace('_type', '_message'))) "
        "for field in METRIC_FIELDS)",
    ),
}
"""By what is no longer held back."""
